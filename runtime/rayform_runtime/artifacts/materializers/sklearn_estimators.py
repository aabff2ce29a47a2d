"""scikit-learn estimators in skops's format, which runs no code when it is loaded."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.import_paths import import_path, main_as_imported, main_name
from rayform_runtime.artifacts.materializers.archives import refuse_bombs
from rayform_runtime.artifacts.materializers.base import Materializer, needs, short
from rayform_runtime.artifacts.materializers.sklearn_names import CLASSES, FUNCTIONS

__all__ = ["SklearnMaterializer"]

_FILE = "estimator.skops"
_SCHEMA = "schema.json"


class SklearnMaterializer(Materializer):
    """Stores fitted and unfitted estimators, pipelines and transformers.

    Only classes that `sklearn_names` lists and types that skops trusts are stored and loaded. To store others, such as
    an estimator of your own, write a subclass that names them:

    Attributes:
        TRUSTED: full names of further types that may be loaded, as in `"my_project.models.MyEstimator"`.
    """

    ASSOCIATED_ARTIFACT_TYPE = "model"
    TRUSTED: ClassVar[tuple[str, ...]] = ()

    def save(self, value: Any, folder: Path) -> None:
        """Write the estimator.

        Raises:
            UsageError: the estimator holds types that skops doesn't trust.
        """
        with needs("sklearn"):
            import skops.io

        path = folder / _FILE
        try:
            skops.io.dump(value, path)
        except Exception as error:
            raise UsageError(
                f"An estimator of type '{import_path(type(value))}' can't be stored.",
                why=f"skops reports: {type(error).__name__}: {error}.",
                hint=_choices(type(value), ()),
            ) from error
        _name_main(path)
        self._trusted(path, type(value))

    def load(self, folder: Path, data_type: type) -> Any:
        """Read the estimator."""
        with needs("sklearn"):
            import skops.io

        path = folder / _FILE
        refuse_bombs(path)
        with main_as_imported():
            return skops.io.load(path, trusted=self._trusted(path, data_type))

    def _trusted(self, path: Path, kind: type) -> list[str]:
        import skops.io

        untrusted = skops.io.get_untrusted_types(file=path)
        trusted = {_of_script(name) for name in self.TRUSTED}
        unknown = sorted(
            name for name in set(untrusted) - CLASSES - FUNCTIONS if _of_script(name) not in trusted
        )
        if unknown:
            raise UsageError(
                f"An estimator of type '{import_path(kind)}' can't be stored or loaded as it is.",
                why=f"It holds types that skops doesn't trust: {', '.join(unknown)}.",
                hint=_choices(kind, unknown),
            )
        return list(untrusted)

    def extract_metadata(self, value: Any) -> dict[str, Any]:
        """Return class and parameters, and for a fitted estimator its features, classes, iterations and outputs."""
        import sklearn

        facts: dict[str, object] = {"class": type(value).__name__, "sklearn_version": sklearn.__version__}
        parameters = value.get_params(deep=False) if hasattr(value, "get_params") else {}
        facts["parameters"] = {name: _plain(item) for name, item in parameters.items()}
        for name in ("n_features_in_", "n_iter_", "n_outputs_"):
            number = getattr(value, name, None)
            if isinstance(number, int):
                facts[name.rstrip("_")] = number
        classes = getattr(value, "classes_", None)
        if classes is not None and hasattr(classes, "tolist") and len(classes) <= 100:
            facts["classes"] = [_plain(item) for item in classes.tolist()]
        names = getattr(value, "feature_names_in_", None)
        if names is not None and len(names) <= 500:
            facts["feature_names"] = [str(name) for name in names]
        return facts

    def save_visualizations(self, value: Any, folder: Path) -> dict[str, str]:
        """Draw the estimator as scikit-learn does in notebooks."""
        from sklearn.utils import estimator_html_repr

        (folder / "estimator.html").write_text(estimator_html_repr(value), encoding="utf-8")
        return {"estimator.html": "html"}

    def summary(self, value: Any) -> str:
        """Return its text."""
        return short(repr(value))


def _plain(value: object) -> str | int | float | None:
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    return value if value is None or isinstance(value, str | bool | int) else short(repr(value), 200)


def _of_script(name: str) -> str:
    """Return a full name with the name by which others import the script instead of `__main__`."""
    module, _, rest = name.partition(".")
    return f"{main_name() or module}.{rest}" if module in ("__main__", "__mp_main__") else name


def _choices(kind: type, unknown: Sequence[str]) -> str:
    pickled = (
        "choose to pickle it (loading then runs whatever code the file holds):\n\n"
        "    from rayform.materializers import CloudpickleMaterializer\n\n"
        f"    Annotated[{kind.__name__}, ArtifactConfig(materializer=CloudpickleMaterializer)]"
    )
    if not unknown:
        return pickled[0].upper() + pickled[1:]
    names = "".join(f'"{name}", ' for name in unknown).rstrip()
    return (
        "Either trust them, in a materializer of your own:\n\n"
        "    from rayform.materializers import SklearnMaterializer\n\n"
        "    class TrustingMaterializer(SklearnMaterializer):\n"
        f"        TRUSTED = ({names})\n\n"
        f"    Annotated[{kind.__name__}, ArtifactConfig(materializer=TrustingMaterializer)]\n\n"
        f"or {pickled}"
    )


def _name_main(path: Path) -> None:
    """Write into a file of skops the name by which other processes import the script, instead of `__main__`."""
    name = main_name()
    with zipfile.ZipFile(path) as archive:
        schema = archive.read(_SCHEMA)
        if name is None or b"__main__" not in schema:
            return
        members = [(info, archive.read(info)) for info in archive.infolist()]
    renamed = json.dumps(_renamed(json.loads(schema), name)).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, data in members:
            archive.writestr(info, renamed if info.filename == _SCHEMA else data)


def _renamed(node: Any, name: str) -> Any:
    if isinstance(node, list):
        return [_renamed(item, name) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: name if key == "__module__" and item in ("__main__", "__mp_main__") else _renamed(item, name)
        for key, item in node.items()
    }
