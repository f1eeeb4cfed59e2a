"""A model file that is damaged, changed, or no model at all gives one clear error."""

import json
import pickle
import zipfile

import numpy as np
import pytest

import shoal as sh

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    adata = sh.ds.simulate(n_perturbations=4, n_cells=20, n_control=40, n_genes=30, rng=0)
    sh.pp.prepare(adata, normalize="log1p", n_comps=4)
    folder = tmp_path_factory.mktemp("models")
    sh.tl.fit(adata, "mean_shift").save(folder / "baseline")
    sh.tl.fit(adata, "flow", max_steps=2, rng=0).save(folder / "network")
    return adata, folder


def parts(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def changed(folder, tmp_path, change):
    """Write a copy of a saved model with one part changed, and return its folder."""
    held = parts(folder / "model.npz")
    change(held)
    (tmp_path / "copy").mkdir()
    with zipfile.ZipFile(tmp_path / "copy" / "model.npz", "w") as file:
        for name, content in held.items():
            file.writestr(name, content)
    return tmp_path / "copy"


def with_value(name, value):
    def change(held):
        import io

        key = next(n for n in held if n.startswith(name) and n.endswith(".npy"))
        array = np.load(io.BytesIO(held[key])).copy()
        array.flat[0] = value
        out = io.BytesIO()
        np.save(out, array)
        held[key] = out.getvalue()

    return change


def with_json(**new):
    def change(held):
        entry = json.loads(held["model.json"])
        for key, value in new.items():
            if value is None:
                entry.pop(key)
            else:
                entry[key] = value
        held["model.json"] = json.dumps(entry).encode()

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("model", "array"),
    [("network", "weights."), ("network", "space.mean"), ("baseline", "arrays.delta")],
)
def test_values_that_are_no_numbers_are_named(saved, tmp_path, model, array, value):
    folder = changed(saved[1] / model, tmp_path, with_value(array, value))
    with pytest.raises(ValueError, match=rf"'{array}.*hold NaN or infinite values"):
        sh.models.load(folder)


def test_a_model_whose_weights_are_nan_is_not_saved(saved, tmp_path):
    model = sh.models.load(saved[1] / "network")
    next(iter(model.module.parameters())).data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"'weights\..*train it again"):
        model.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("model", ["network", "baseline"])
def test_every_missing_part_is_named(saved, tmp_path, model):
    held = json.loads(parts(saved[1] / model / "model.npz")["model.json"])
    for i, key in enumerate(set(held) - {"missing", "version", "schema", "seed", "history"}):
        place = tmp_path / str(i)
        place.mkdir()
        folder = changed(saved[1] / model, place, with_json(**{key: None}))
        with pytest.raises(ValueError, match=f"lacks '{key}'|damaged"):
            sh.models.load(folder)


@pytest.mark.parametrize("schema", ["model/1", "model/99", "", 7, None])
def test_another_version(saved, tmp_path, schema):
    folder = changed(saved[1] / "baseline", tmp_path, with_json(schema=schema))
    with pytest.raises(ValueError, match="not a model saved by this version"):
        sh.models.load(folder)


class Runs:
    def __reduce__(self):
        return (print, ("code of the file was run",))


CONTENTS = {
    "empty": b"",
    "text": b"no model",
    "pickle": pickle.dumps(Runs()),
    "half": None,
    "flipped": None,
    "a zip of something else": None,
    "an array": None,
    "JSON": b"{}",
}


@pytest.mark.parametrize("kind", list(CONTENTS))
def test_files_of_another_kind(saved, tmp_path, kind, capsys):
    whole, content = (saved[1] / "network" / "model.npz").read_bytes(), CONTENTS[kind]
    path = tmp_path / "model.npz"
    if kind == "half":
        content = whole[: len(whole) // 2]
    if kind == "flipped":
        middle = len(whole) // 2
        content = whole[:middle] + bytes(255 - b for b in whole[middle : middle + 400])
        content += whole[middle + 400 :]
    if kind == "a zip of something else":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("hello.txt", "hello")
    elif kind == "an array":
        np.save(path.with_suffix(".npy"), np.ones(3))
        path.with_suffix(".npy").rename(path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="model.npz is no model saved by shoal, or it is damaged"):
        sh.models.load(tmp_path)
    assert "code of the file" not in capsys.readouterr().out


def test_places_without_a_model(saved, tmp_path):
    (tmp_path / "folder" / "model.npz").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "absent", tmp_path / "folder", str(tmp_path)):
        with pytest.raises(FileNotFoundError, match=r"there is no model.npz"):
            sh.models.load(place)
    for place in (7, None, b"bytes", ["a"]):
        with pytest.raises(TypeError, match="given as a path"):
            sh.models.load(place)


def test_a_damaged_screen_beside_the_model(saved, tmp_path):
    sh.tl.fit(saved[0], "mean_shift").save(tmp_path / "m", save_anndata=True)
    (tmp_path / "m" / "adata.h5ad").write_bytes(b"no screen")
    with pytest.raises(ValueError, match=r"adata.h5ad, the screen saved with the model"):
        sh.models.load(tmp_path / "m")
    assert sh.models.load(tmp_path / "m", saved[0]).predict("P1", n_cells=3).n_obs == 3
