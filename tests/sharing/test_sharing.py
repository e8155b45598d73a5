"""Folders to share: equal to the bit, honest cards, nothing unpickled, little fetched."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch

from discretevae.codes.fingerprints import fingerprint
from discretevae.config import DataConfig, ModelConfig
from discretevae.errors import (
    ConfigError,
    DownloadError,
    MissingExtraError,
    RunError,
)
from discretevae.model.vae import fresh_model
from discretevae.run_folder import saved_run
from discretevae.run_folder.saved_run import load_run
from discretevae.sharing import hub as sharing
from discretevae.sharing.card import SURROGATE
from discretevae.sharing.hub import from_pretrained, push_to_hub, save_pretrained

FILES = ["README.md", "config.json", "model.safetensors"]
FILES_OF_RUN = [*FILES, "schema.json"]

CONFIGS = [
    {"latent": "bernoulli:9"},
    {"latent": "categorical:3x5", "prior": "autoregressive"},
    {"latent": "bernoulli:3+gaussian:2", "prior": "factorized", "activation": "tanh"},
    {"latent": "gaussian:4", "likelihood": "gaussian:learned", "prior": "mixture:3"},
    {"latent": "bernoulli:9", "network": "cnn", "hidden": None, "image_shape": (8, 8)},
]


def model_of(seed=1, **options):
    return fresh_model(ModelConfig(**({"n_features": 64, "hidden": (16,)} | options)), seed=seed)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("options", CONFIGS, ids=lambda o: o["latent"] + o.get("network", ""))
def test_a_model_comes_back_equal_to_the_bit(options, tmp_path):
    model = model_of(**options)
    assert save_pretrained(model, tmp_path / "new" / "one") == tmp_path / "new" / "one"
    assert listing(tmp_path / "new" / "one") == FILES
    again = from_pretrained(str(tmp_path / "new" / "one"))
    assert fingerprint(again.model) == fingerprint(model)
    assert not again.model.training
    x = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.model.encode(x), model.encode(x))


def test_a_run_comes_back_with_its_configuration(trained, tmp_path):
    run = load_run(trained("bernoulli:16"))
    save_pretrained(run, tmp_path / "one")
    again = from_pretrained(tmp_path / "one")
    assert again.config == run.config
    assert fingerprint(again.model) == fingerprint(run.model)


def test_a_shared_folder_is_a_run_to_every_command(trained, cli, tmp_path):
    run = trained("bernoulli:16")
    said = cli("export", run, "--pretrained", "--out", tmp_path / "one", "--license", "mit")
    assert (said.status, said.out) == (0, f"model and card written to {tmp_path / 'one'}\n")
    for name, folder in (("a", run), ("b", tmp_path / "one")):
        assert cli("encode", folder, "digits", "--out", tmp_path / f"{name}.npy").status == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    again = cli("export", tmp_path / "one", "--pretrained", "--out", tmp_path / "two", "--json")
    assert json.loads(again.out)["files"] == FILES_OF_RUN


def test_the_same_run_gives_the_same_bytes(trained, tmp_path):
    run = load_run(trained("bernoulli:16"))
    for name in "ab":
        save_pretrained(run, tmp_path / name)
    for name in FILES_OF_RUN:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# the card


def card_of(model, folder, **options):
    return (save_pretrained(model, folder, **options) / "README.md").read_text()


def test_the_card_of_a_run_says_how_it_was_made_and_what_was_measured(trained, tmp_path):
    run = load_run(trained("bernoulli:16"))
    card = card_of(run, tmp_path / "one", license="apache-2.0")
    head, _, body = card.removeprefix("---\n").partition("---\n")
    assert head.splitlines()[:2] == ["license: apache-2.0", "library_name: discretevae"]
    training = run.config.training
    for line in (
        "- latent: `bernoulli:16`",
        "- likelihood: `bernoulli`",
        f"- fingerprint: `{fingerprint(run.model)}`",
        "- data: `digits`",
        f"- divisor: `{run.config.data.divisor}`",
        f"- objective: `{training.objective}`",
        f"- epochs: `{training.epochs}`",
        f"- seed: `{training.seed}`",
        "The weights are under `apache-2.0`.",
        'run = dv.from_pretrained("user/name")  # or the folder that this file lies in',
    ):
        assert line in body.splitlines()
    test = json.loads((run.folder / "summary.json").read_text())["test"]
    for key, title in (("elbo", "ELBO"), ("rate", "rate, KL(q ‖ p)")):
        value, se = test[key]["value"], test[key]["se"]
        assert f"| {title} | {value:.3f} | {se:.3f} |" in body.splitlines()
    samples = test["bound"]["samples"]
    assert f"| {samples}-sample bound on ln p(x) | {test['bound']['value']:.3f} |" in body
    assert f"On {test['rows']:,} test rows" in body
    assert (SURROGATE in body) == test["is_surrogate"]


@pytest.mark.parametrize("is_surrogate", [True, False])
def test_the_card_says_whether_the_figures_are_a_surrogates(is_surrogate, trained, tmp_path):
    run = copied(trained, tmp_path)
    change_summary(run, is_surrogate=is_surrogate)
    assert (SURROGATE in card_of(load_run(run), tmp_path / "one")) == is_surrogate


def copied(trained, tmp_path):
    return Path(shutil.copytree(trained("bernoulli:16"), tmp_path / "run"))


def change_summary(folder, **values):
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    summary["test"] |= values
    path.write_text(json.dumps(summary))


def test_without_figures_and_license_the_card_says_so(trained, tmp_path):
    run = copied(trained, tmp_path)
    (run / "summary.json").unlink()
    card = card_of(load_run(run), tmp_path / "one")
    assert "## Test figures\n\nNone are recorded.\n" in card
    assert "\nlicense:" not in card
    assert "Not stated. Fill in `license:`" in card


def test_of_a_bare_model_nothing_is_claimed_about_its_training(tmp_path):
    card = card_of(model_of(), tmp_path / "one")
    assert "How it was trained is not recorded." in card
    assert "None are recorded." in card
    assert "epochs" not in card
    values = json.loads((tmp_path / "one" / "config.json").read_text())
    assert (values["training"], values["data"]) == ({}, {})


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/somebody/secret/table.csv", "table.csv"),
        ("C:\\Users\\somebody\\photos\\", "photos"),
        ("rows`\n\n## Injected\n", "rows`\n\n## Injected\n"),
    ],
)
def test_the_path_of_the_data_stays_private_and_adds_no_markup(source, name, trained, tmp_path):
    run = load_run(trained("bernoulli:16"))
    config = dataclasses.replace(run.config, data=DataConfig(source=source))
    run = dataclasses.replace(run, config=config)
    card = card_of(run, tmp_path / "one")
    for text in (card, (tmp_path / "one" / "config.json").read_text()):
        assert "somebody" not in text
    assert from_pretrained(tmp_path / "one").config.data.source == name
    assert "\n## Injected" not in card


@pytest.mark.parametrize("test", [{}, None, {"elbo": 3}, {"elbo": {"value": "NaN", "se": 1}}])
def test_a_corrupt_summary_is_refused_before_anything_is_written(test, trained, tmp_path):
    run = copied(trained, tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    summary["test"] = {**summary["test"], **test} if test else test
    (run / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(RunError, match=r"summary\.json: corrupt"):
        save_pretrained(load_run(run), tmp_path / "one")
    (run / "summary.json").write_text("no JSON")
    with pytest.raises(RunError, match=r"summary\.json: corrupt, no JSON object"):
        save_pretrained(load_run(run), tmp_path / "one")
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("text", ["My own", "mit\nx: y", "", "MIT", "a: b"])
def test_a_license_is_one_word(text, tmp_path):
    with pytest.raises(ConfigError, match="is no identifier"):
        save_pretrained(model_of(), tmp_path / "one", license=text)
    assert not (tmp_path / "one").exists()


# folders


def test_what_is_there_is_only_replaced_on_demand(tmp_path):
    first, second = model_of(seed=1), model_of(seed=2)
    save_pretrained(first, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"already holds model.safetensors, README.md, config.json"):
        save_pretrained(second, tmp_path)
    assert fingerprint(from_pretrained(tmp_path).model) == fingerprint(first)
    save_pretrained(second, tmp_path, overwrite=True)
    assert fingerprint(from_pretrained(tmp_path).model) == fingerprint(second)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_training_run_and_a_file_are_never_written_over(trained, tmp_path):
    run = copied(trained, tmp_path)
    before = (run / "config.json").read_bytes()
    with pytest.raises(RunError, match="holds a training run, which must stay"):
        save_pretrained(load_run(run), run, overwrite=True)
    assert (run / "config.json").read_bytes() == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="is a file, not a folder"):
        save_pretrained(model_of(), tmp_path / "file", overwrite=True)


def test_half_a_replacement_is_no_run(tmp_path, monkeypatch):
    save_pretrained(model_of(seed=1), tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sharing, "write_text", fail)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(model_of(seed=2), tmp_path, overwrite=True)
    with pytest.raises(RunError, match=r"config.json is missing"):
        from_pretrained(tmp_path)


def replace(name, content):
    def change(folder):
        (folder / name).write_bytes(content)

    return change


def edit(**values):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


BAD = {
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "is missing"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no such file"),
    "no JSON": (replace("config.json", b"{"), "corrupt, no JSON object"),
    "JSON of others": (replace("config.json", b'{"model_type": "bert"}'), "not written by"),
    "newer": (edit(format_version=99), "format version 99"),
    "another size": (edit(model={"n_features": 65, "hidden": [16]}), "tensor .* is "),
    "beyond memory": (edit(model={"n_features": 10**15, "hidden": [10**15]}), "beyond any memory"),
    "truncated": (
        lambda folder: (folder / "model.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()[:-9]
        ),
        "corrupt or truncated",
    ),
    "garbage": (replace("model.safetensors", b"\xff" * 100), "corrupt or truncated"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_refused(case, tmp_path):
    change, message = BAD[case]
    save_pretrained(model_of(), tmp_path)
    change(tmp_path)
    with pytest.raises(RunError, match=message):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "pytorch_model.bin"])
def test_a_pickle_never_runs(name, tmp_path):
    save_pretrained(model_of(), tmp_path / "one")
    (tmp_path / "one" / name).write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    if name == "pytorch_model.bin":
        from_pretrained(tmp_path / "one")  # not even looked at
    else:
        with pytest.raises(RunError):
            from_pretrained(tmp_path / "one")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Touch(tmp_path / "ran"))).close()  # noqa: S301 - the watch sees it
    assert (tmp_path / "ran").exists()


def test_weights_far_too_large_are_refused_unread(tmp_path, monkeypatch):
    save_pretrained(model_of(), tmp_path)
    monkeypatch.setattr(saved_run, "MAX_HEADER_BYTES", 10_000)
    assert from_pretrained(tmp_path).model
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(1 << 40)  # sparse: reading it would fill the memory
    with pytest.raises(RunError, match=r"more than the config\.json beside it can need"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["nothing here", "a/b/c", "../up", "https://x.org/a/b", ""])
def test_what_is_neither_a_folder_nor_a_repository_is_refused(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RunError, match=r"no such folder|is missing"):
        from_pretrained(name)


# the Hub, of which the network is left out


class FakeHub(types.ModuleType):
    """Repositories are folders."""

    def __init__(self, root):
        super().__init__("huggingface_hub")
        self.root, self.calls, self.error = root, [], None

    def _say(self, name, **values):
        self.calls.append((name, values))
        if self.error is not None:
            raise self.error

    def snapshot_download(self, repo_id, **options):
        self._say("download", repo_id=repo_id, **options)
        snapshot = self.root / "cache" / (options["revision"] or "main")
        snapshot.mkdir(parents=True, exist_ok=True)
        for path in (self.root / repo_id).iterdir():
            if any(path.match(pattern) for pattern in options["allow_patterns"]):
                shutil.copy(path, snapshot)
        return str(snapshot)

    def create_repo(self, repo_id, **options):
        self._say("create", repo_id=repo_id, **options)
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)
        return f"https://hub.test/{repo_id}"

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, **options):
        self._say("upload", repo_id=repo_id, allow_patterns=allow_patterns, **options)
        for name in options["delete_patterns"]:
            (self.root / repo_id / name).unlink(missing_ok=True)
        for path in Path(folder_path).iterdir():
            if path.name in allow_patterns:
                shutil.copy(path, self.root / repo_id)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.chdir(tmp_path)
    return fake


def test_a_repository_comes_back_equal_and_only_two_files_of_it_are_fetched(hub):
    model = model_of()
    assert push_to_hub(model, "user/bits", license="mit") == "https://hub.test/user/bits"
    repository = hub.root / "user" / "bits"
    assert listing(repository) == FILES
    (repository / "pytorch_model.bin").write_bytes(pickle.dumps(Touch(hub.root / "ran")))
    (repository / "code.py").write_text("raise SystemExit")
    run = from_pretrained("user/bits", revision="v1", token="secret")  # noqa: S106 - none
    assert fingerprint(run.model) == fingerprint(model)
    assert listing(run.folder) == ["config.json", "model.safetensors"]
    _, options = hub.calls[-1]
    assert options["allow_patterns"] == ["config.json", "schema.json", "*.safetensors"]
    assert (options["revision"], options["token"]) == ("v1", "secret")


def test_a_push_is_private_unless_asked_and_may_leave_the_card(hub, trained):
    run = load_run(trained("bernoulli:16"))
    push_to_hub(run, "user/bits")
    card = hub.root / "user" / "bits" / "README.md"
    card.write_text("my own words")
    push_to_hub(run, "user/bits", card=False, private=False, revision="next")
    assert card.read_text() == "my own words"
    created = [values for name, values in hub.calls if name == "create"]
    assert [values["private"] for values in created] == [True, False]
    assert all(values["exist_ok"] for values in created)
    assert hub.calls[-1][1]["revision"] == "next"


def test_a_folder_comes_before_a_repository_and_a_path_is_never_one(hub, tmp_path):
    save_pretrained(model_of(), tmp_path / "user" / "bits")
    from_pretrained("user/bits")
    with pytest.raises(RunError, match="no such folder"):
        from_pretrained(Path("user/other"))
    assert hub.calls == []


@pytest.mark.parametrize("error", [OSError("no route\nto host"), ValueError("bad"), KeyError()])
def test_what_the_hub_raises_is_one_line(hub, error):
    hub.error = error
    for act in (from_pretrained, lambda name: push_to_hub(model_of(), name)):
        with pytest.raises(DownloadError, match=r"user/bits: could not be .* the Hub \(") as found:
            act("user/bits")
        assert "\n" not in str(found.value)


def test_the_name_of_a_repository_is_checked_first(hub):
    for name in ("bits", "a/b/c", "../x", "user/b its"):
        with pytest.raises(ConfigError, match=re.escape("Write it like user/name")):
            push_to_hub(model_of(), name)
    assert hub.calls == []


def test_without_the_extra_folders_work_and_repositories_name_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    from_pretrained(save_pretrained(model_of(), tmp_path / "one"))
    with pytest.raises(MissingExtraError, match=r"pip install 'discretevae\[hub\]'"):
        from_pretrained("user/bits")
    with pytest.raises(MissingExtraError, match=r"pip install 'discretevae\[hub\]'"):
        push_to_hub(model_of(), "user/bits")


def test_the_real_hub_takes_what_is_passed_to_it():
    import inspect

    import huggingface_hub

    wanted = {
        "snapshot_download": {
            "revision", "cache_dir", "token", "allow_patterns", "library_name", "library_version",
        },
        "create_repo": {"private", "exist_ok", "token"},
        "upload_folder": {
            "repo_id", "folder_path", "allow_patterns", "delete_patterns", "commit_message",
            "revision", "token",
        },
    }  # fmt: skip
    for name, options in wanted.items():
        assert options <= set(inspect.signature(getattr(huggingface_hub, name)).parameters)
