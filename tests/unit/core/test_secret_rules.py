# ruff: noqa: E501, SIM905 - tables of names
"""Which names and values are taken for secrets."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_core.secret_rules import MASK, is_secret, is_secret_name, is_secret_value, masked, secret_path

# Variables and parameters from the documentation of libraries, clouds and tools.
_SECRETS = """
AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_ACCESS_KEY AZURE_CLIENT_SECRET AZURE_STORAGE_KEY AZURE_OPENAI_API_KEY GITHUB_TOKEN GH_TOKEN
GITLAB_TOKEN GITLAB_PRIVATE_TOKEN CI_JOB_TOKEN HF_TOKEN HUGGING_FACE_HUB_TOKEN HUGGINGFACEHUB_API_TOKEN OPENAI_API_KEY
ANTHROPIC_API_KEY COHERE_API_KEY WANDB_API_KEY MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN NEPTUNE_API_TOKEN COMET_API_KEY
KAGGLE_KEY_SECRET DATABRICKS_TOKEN SNOWFLAKE_PASSWORD PGPASSWORD MYSQL_ROOT_PASSWORD POSTGRES_PASSWORD REDIS_PASSWORD
SLACK_BOT_TOKEN SLACK_WEBHOOK_SECRET DISCORD_TOKEN TELEGRAM_BOT_TOKEN STRIPE_SECRET_KEY STRIPE_API_KEY TWILIO_AUTH_TOKEN
SENDGRID_API_KEY NPM_TOKEN NODE_AUTH_TOKEN PYPI_TOKEN TWINE_PASSWORD UV_PUBLISH_TOKEN DOCKER_PASSWORD CARGO_REGISTRY_TOKEN VAULT_TOKEN
VAULT_SECRET_ID TF_TOKEN DJANGO_SECRET_KEY FLASK_SECRET_KEY SECRET_KEY JWT_SECRET JWT ENCRYPTION_KEY SIGNING_KEY SSH_PRIVATE_KEY
SSH_PASSPHRASE PRIVATE_KEY GPG_PRIVATE_KEY DATADOG_API_KEY DD_API_KEY NEW_RELIC_LICENSE_KEY SENTRY_AUTH_TOKEN GRAFANA_API_KEY
PAGERDUTY_API_TOKEN LANGCHAIN_API_KEY PINECONE_API_KEY WEAVIATE_API_KEY TAVILY_API_KEY REPLICATE_API_TOKEN LABEL_STUDIO_API_KEY
ZENML_STORE_API_KEY RAY_AUTH_TOKEN NGC_API_KEY SUPABASE_SERVICE_KEY CLIENT_SECRET REFRESH_TOKEN ACCESS_TOKEN access_tokens apiKey
accessToken clientSecret privateKey authToken api-key x-api-key db.password user_password passwd pwd password1 secret token bearer
bearer_token credentials google_credentials session_token csrf_token id_token master_key hmac_key account_key storage_account_key
subscription_key webhook_secret oauth_token bot_token apitoken APIKEY apikey smtp_password ftp_passwd basic_auth_password
""".split()
_ORDINARY = """
TOKENIZERS_PARALLELISM MAX_TOKENS max_new_tokens num_tokens n_tokens total_tokens prompt_tokens completion_tokens tokens token_count
token_ids token_id token_type_ids pad_token eos_token bos_token unk_token mask_token sep_token cls_token stop_token stop_tokens
special_tokens token_limit tokens_per_second tokenizer tokenizer_name tokenization token_embedding_dim token_dropout next_token
next_page_token image_token new_tokens ignore_tokens vocab_tokens input_tokens output_tokens cached_tokens token_budget
primary_key foreign_key sort_key partition_key key keys key_size keyboard monkey hotkey join_key group_key cache_key num_keys
AWS_REGION AWS_DEFAULT_REGION AWS_PROFILE AWS_SHARED_CREDENTIALS_FILE GOOGLE_APPLICATION_CREDENTIALS_PATH password_file password_env
secret_name secret_arn password_length password_policy password_secret_arn SSH_AUTH_SOCK PATH HOME LANG OMP_NUM_THREADS CUDA_VISIBLE_DEVICES
PYTHONHASHSEED WANDB_PROJECT MLFLOW_TRACKING_URI HF_HOME HF_HUB_OFFLINE epochs lr learning_rate batch_size seed author authority
authentication_mode auth_type compass passenger passes num_passes bypass passthrough secretary secret_santa public_key ssh_public_key
encryption_type encrypted signature assign design api_version api_url access_level access_log accessible private is_private session_id
client_id account_id account_name storage_account service_name user_name login_url credential_type credentials_path credit patience
keyword_args attention_heads accuracy tokenized token_url token_endpoint jwt_algorithm_type secret_sauce rotate_secret_age path pattern
""".split()
_SECRET_VALUES = [
    "postgres://u:pw@h", "postgresql+psycopg://ada:s3cr3t@db.example:5432/x", "https://user:tok@pypi.example/simple", "redis://:pw@h:6379/0",
    "amqp://guest:guest@h", "mongodb+srv://u:p%40@c.example/db", "pip install --index-url https://u:p@h/simple x", "ftp://a:b@h",
    b"mysql://u:p@h", "host=1 url=https://u:p@h",
]  # fmt: skip
_ORDINARY_VALUES = [
    "postgres://u@h/db", "https://example.org/a:b@c", "https://example.org/?q=a:b@c", "s3://bucket/key", "ssh://ubuntu@host:22", "a:b@c",
    "postgres://u:${PGPASSWORD}@h", "postgres://u:***@h", "https://h:8080/x@y", "", 3, None, 1.5, True, [], "git@github.com:o/r.git",
    "postgres://u:<password>@h",
]  # fmt: skip


@pytest.mark.parametrize("name", _SECRETS)
def test_names_of_secrets(name: str) -> None:
    """A public name of a secret is one in every spelling."""
    for spelling in (
        name,
        name.lower() if "_" in name else name,
        name.replace("_", "-"),
        f"my_{name}",
        f"MY_{name}_2",
    ):
        assert is_secret_name(spelling), spelling
        assert is_secret(spelling, "hunter2")


@pytest.mark.parametrize("name", _ORDINARY)
def test_names_of_ordinary_things(name: str) -> None:
    """A name that only reminds of a secret is none."""
    for spelling in (name, name.upper(), name.replace("_", "-")):
        assert not is_secret_name(spelling), spelling


@pytest.mark.parametrize("value", _SECRET_VALUES)
def test_urls_with_a_password(value: object) -> None:
    """A URL with a password is a secret whatever its name."""
    assert is_secret_value(value)
    assert is_secret("DATABASE_URL", value)
    assert masked("x", {"url": [value]}) == {"url": [MASK]}


@pytest.mark.parametrize("value", _ORDINARY_VALUES)
def test_values_that_are_no_secret(value: object) -> None:
    """URLs without a password, and text that only has the signs of one, are no secrets."""
    assert not is_secret_value(value)
    assert masked("url", value) is value


@pytest.mark.parametrize(
    "value",
    ["OPENAI_API_KEY", "${API_KEY}", "$API_KEY", "{{secret.key}}", "arn:aws:secretsmanager:eu-west-1:1:secret:x", "env:API_KEY",
     "projects/p/secrets/s/versions/1", "", MASK, None, True, 3, 0.5],
)  # fmt: skip
def test_where_a_secret_is_may_be_stored(value: object) -> None:
    """The name of a variable or of a stored secret, numbers and switches are no secrets even under a secret's name."""
    assert not is_secret("api_key", value)


def test_secrets_inside_are_found_and_masked() -> None:
    """Objects and lists are looked into, and all but the secrets stays."""
    value = {"db": [{"user": "ada", "password": "x"}], "n": 3, "api_keys": ["k1", "k2"]}
    assert secret_path("config", value) == "config.db.password"
    assert masked("config", value) == {
        "db": [{"user": "ada", "password": MASK}],
        "n": 3,
        "api_keys": [MASK, MASK],
    }
    plain = {"a": [1, {"b": "c"}]}
    assert masked("config", plain) is plain


@given(st.text(), st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.binary(),
       lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=20))  # fmt: skip
def test_any_value_can_be_masked(name: str, value: object) -> None:
    """Masking ends for every name and value, and leaves nothing to mask."""
    assert secret_path(name, masked(name, value)) is None


@pytest.mark.parametrize(
    "piece", ["a", "a:", "://", "://a:", "a://b:", "a+", "a://b:c", "${", "{{", "<", "A_", "env:"]
)
def test_a_hostile_value_does_not_hold_up_the_masking(piece: str) -> None:
    """A long value that nearly looks like a login or a reference is judged in less than a second."""
    begin = time.process_time()
    for tail in ("", "://", "@"):
        is_secret("password", piece * (200_000 // len(piece)) + tail)
    assert time.process_time() - begin < 1
