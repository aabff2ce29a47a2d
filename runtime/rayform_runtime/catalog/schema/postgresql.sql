CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO alembic_version (version_num) VALUES ('0003');
CREATE TABLE artifacts (
	id UUID NOT NULL,
	name TEXT COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	last_number BIGINT NOT NULL,
	last_sequence BIGINT NOT NULL,
	tags JSON,
	metadata JSON,
	CONSTRAINT pk_artifacts PRIMARY KEY (id),
	CONSTRAINT uq_artifacts_name UNIQUE (name)
);
CREATE TABLE models (
	id UUID NOT NULL,
	name TEXT COLLATE "C" NOT NULL,
	description TEXT COLLATE "C",
	license TEXT COLLATE "C",
	created_at BIGINT NOT NULL,
	last_number BIGINT NOT NULL,
	last_sequence BIGINT NOT NULL,
	tags JSON,
	metadata JSON,
	CONSTRAINT pk_models PRIMARY KEY (id),
	CONSTRAINT uq_models_name UNIQUE (name)
);
CREATE TABLE tags (
	subject TEXT COLLATE "C" NOT NULL,
	tag TEXT COLLATE "C" NOT NULL,
	subject_id UUID NOT NULL,
	CONSTRAINT pk_tags PRIMARY KEY (subject, tag, subject_id)
);
CREATE INDEX ix_tags_subject_id ON tags (subject_id);
CREATE TABLE model_versions (
	id UUID NOT NULL,
	model_id UUID NOT NULL,
	sequence BIGINT NOT NULL,
	version TEXT COLLATE "C" NOT NULL,
	number BIGINT,
	stage TEXT COLLATE "C" NOT NULL,
	description TEXT COLLATE "C",
	created_at BIGINT NOT NULL,
	tags JSON,
	metadata JSON,
	CONSTRAINT pk_model_versions PRIMARY KEY (id),
	CONSTRAINT uq_model_versions_model_id_version UNIQUE (model_id, version),
	CONSTRAINT uq_model_versions_model_id_sequence UNIQUE (model_id, sequence),
	CONSTRAINT fk_model_versions_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
);
CREATE INDEX ix_model_versions_created_at_id ON model_versions (created_at, id);
CREATE UNIQUE INDEX uq_model_versions_exclusive_stage ON model_versions (model_id, stage) WHERE stage IN ('staging', 'production');
CREATE TABLE stage_changes (
	id UUID NOT NULL,
	model_id UUID NOT NULL,
	model_version_id UUID NOT NULL,
	version TEXT COLLATE "C" NOT NULL,
	old_stage TEXT COLLATE "C" NOT NULL,
	new_stage TEXT COLLATE "C" NOT NULL,
	at BIGINT NOT NULL,
	user_name TEXT COLLATE "C",
	CONSTRAINT pk_stage_changes PRIMARY KEY (id),
	CONSTRAINT fk_stage_changes_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
);
CREATE INDEX ix_stage_changes_model_id_at ON stage_changes (model_id, at);
CREATE TABLE runs (
	id UUID NOT NULL,
	name TEXT COLLATE "C" NOT NULL,
	pipeline TEXT COLLATE "C" NOT NULL,
	status TEXT COLLATE "C" NOT NULL,
	stack_name TEXT COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	started_at BIGINT,
	ended_at BIGINT,
	heartbeat_at BIGINT,
	stop_requested BOOLEAN NOT NULL,
	user_name TEXT COLLATE "C",
	host TEXT COLLATE "C",
	pid BIGINT,
	pid_started DOUBLE PRECISION,
	orchestrator_id TEXT COLLATE "C",
	model_version_id UUID,
	parameters JSON,
	tags JSON,
	error JSON,
	metadata JSON,
	CONSTRAINT pk_runs PRIMARY KEY (id),
	CONSTRAINT uq_runs_name UNIQUE (name),
	CONSTRAINT fk_runs_model_version_id FOREIGN KEY(model_version_id) REFERENCES model_versions (id) ON DELETE SET NULL
);
CREATE INDEX ix_runs_created_at_id ON runs (created_at, id);
CREATE INDEX ix_runs_live ON runs (heartbeat_at) WHERE status IN ('initializing', 'running');
CREATE INDEX ix_runs_model_version_id ON runs (model_version_id);
CREATE INDEX ix_runs_pipeline_created_at ON runs (pipeline, created_at);
CREATE INDEX ix_runs_status_created_at ON runs (status, created_at);
CREATE TABLE model_version_runs (
	model_version_id UUID NOT NULL,
	run_id UUID NOT NULL,
	CONSTRAINT pk_model_version_runs PRIMARY KEY (model_version_id, run_id),
	CONSTRAINT fk_model_version_runs_model_version_id FOREIGN KEY(model_version_id) REFERENCES model_versions (id) ON DELETE CASCADE,
	CONSTRAINT fk_model_version_runs_run_id FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX ix_model_version_runs_run_id ON model_version_runs (run_id);
CREATE TABLE run_calls (
	run_id UUID NOT NULL,
	position INTEGER NOT NULL,
	call JSON NOT NULL,
	CONSTRAINT pk_run_calls PRIMARY KEY (run_id, position),
	CONSTRAINT fk_run_calls_run_id FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE TABLE run_details (
	run_id UUID NOT NULL,
	spec JSON,
	stack JSON,
	code JSON,
	environment JSON,
	CONSTRAINT pk_run_details PRIMARY KEY (run_id),
	CONSTRAINT fk_run_details_run_id FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE TABLE step_runs (
	id UUID NOT NULL,
	run_id UUID NOT NULL,
	key TEXT COLLATE "C" NOT NULL,
	map_index BIGINT,
	name TEXT COLLATE "C" NOT NULL,
	status TEXT COLLATE "C" NOT NULL,
	attempt INTEGER NOT NULL,
	cache_key TEXT COLLATE "C",
	cached_from UUID,
	output_count BIGINT NOT NULL,
	source TEXT COLLATE "C",
	code_digest TEXT COLLATE "C",
	log_uri TEXT COLLATE "C",
	started_at BIGINT,
	ended_at BIGINT,
	parameters JSON,
	resources JSON,
	error JSON,
	metadata JSON,
	reuse JSON,
	CONSTRAINT pk_step_runs PRIMARY KEY (id),
	CONSTRAINT fk_step_runs_run_id FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX ix_step_runs_cache ON step_runs (cache_key, ended_at) WHERE status = 'completed' AND cache_key IS NOT NULL;
CREATE INDEX ix_step_runs_run_id_started_at ON step_runs (run_id, started_at);
CREATE TABLE artifact_versions (
	id UUID NOT NULL,
	artifact_id UUID NOT NULL,
	sequence BIGINT NOT NULL,
	version TEXT COLLATE "C" NOT NULL,
	number BIGINT,
	type TEXT COLLATE "C" NOT NULL,
	artifact_type TEXT COLLATE "C" NOT NULL,
	materializer TEXT COLLATE "C" NOT NULL,
	uri TEXT COLLATE "C" NOT NULL,
	digest TEXT COLLATE "C" NOT NULL,
	size BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	producer_step_run_id UUID,
	producer_run_id UUID,
	output_name TEXT COLLATE "C",
	output_position INTEGER NOT NULL,
	external BOOLEAN NOT NULL,
	tags JSON,
	metadata JSON,
	visualizations JSON,
	CONSTRAINT pk_artifact_versions PRIMARY KEY (id),
	CONSTRAINT uq_artifact_versions_artifact_id_version UNIQUE (artifact_id, version),
	CONSTRAINT uq_artifact_versions_artifact_id_sequence UNIQUE (artifact_id, sequence),
	CONSTRAINT fk_artifact_versions_artifact_id FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE RESTRICT,
	CONSTRAINT fk_artifact_versions_producer_step_run_id FOREIGN KEY(producer_step_run_id) REFERENCES step_runs (id) ON DELETE SET NULL,
	CONSTRAINT fk_artifact_versions_producer_run_id FOREIGN KEY(producer_run_id) REFERENCES runs (id) ON DELETE SET NULL
);
CREATE INDEX ix_artifact_versions_created_at_id ON artifact_versions (created_at, id);
CREATE INDEX ix_artifact_versions_producer_run_id ON artifact_versions (producer_run_id);
CREATE INDEX ix_artifact_versions_producer_step_run_id ON artifact_versions (producer_step_run_id);
CREATE INDEX ix_artifact_versions_uri ON artifact_versions (uri);
CREATE TABLE cached_outputs (
	step_run_id UUID NOT NULL,
	position INTEGER NOT NULL,
	name TEXT COLLATE "C",
	artifact_version_id UUID NOT NULL,
	CONSTRAINT pk_cached_outputs PRIMARY KEY (step_run_id, position),
	CONSTRAINT fk_cached_outputs_step_run_id FOREIGN KEY(step_run_id) REFERENCES step_runs (id) ON DELETE CASCADE,
	CONSTRAINT fk_cached_outputs_artifact_version_id FOREIGN KEY(artifact_version_id) REFERENCES artifact_versions (id) ON DELETE CASCADE
);
CREATE INDEX ix_cached_outputs_artifact_version_id ON cached_outputs (artifact_version_id);
CREATE TABLE model_version_artifacts (
	model_version_id UUID NOT NULL,
	artifact_version_id UUID NOT NULL,
	CONSTRAINT pk_model_version_artifacts PRIMARY KEY (model_version_id, artifact_version_id),
	CONSTRAINT fk_model_version_artifacts_model_version_id FOREIGN KEY(model_version_id) REFERENCES model_versions (id) ON DELETE CASCADE,
	CONSTRAINT fk_model_version_artifacts_artifact_version_id FOREIGN KEY(artifact_version_id) REFERENCES artifact_versions (id) ON DELETE CASCADE
);
CREATE INDEX ix_model_version_artifacts_artifact_version_id ON model_version_artifacts (artifact_version_id);
CREATE TABLE step_inputs (
	step_run_id UUID NOT NULL,
	position INTEGER NOT NULL,
	name TEXT COLLATE "C" NOT NULL,
	artifact_version_id UUID NOT NULL,
	CONSTRAINT pk_step_inputs PRIMARY KEY (step_run_id, position),
	CONSTRAINT fk_step_inputs_step_run_id FOREIGN KEY(step_run_id) REFERENCES step_runs (id) ON DELETE CASCADE,
	CONSTRAINT fk_step_inputs_artifact_version_id FOREIGN KEY(artifact_version_id) REFERENCES artifact_versions (id) ON DELETE CASCADE
);
CREATE INDEX ix_step_inputs_artifact_version_id ON step_inputs (artifact_version_id);
