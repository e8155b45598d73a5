"""Texts as rows that count their words."""

import json

import numpy as np
import pytest

import discretevae as dv
from discretevae.data import load_rows
from discretevae.data.stores.sparse import Sparse
from discretevae.errors import DataError, DataWarning

TEXTS = [
    "The ship sails the sea, a ship of storm",
    "Storm and sea; the harbor",
    "A harbor with one ship",
    "The field of grain",
    "Grain, grain and a barn",
    "One barn, the field",
]
WORDS = {"barn", "field", "grain", "sea", "storm"}


@pytest.fixture
def folder(tmp_path):
    for number, text in enumerate(TEXTS):
        file = tmp_path / "all" / ("boats" if number < 3 else "farms") / f"{number}.txt"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path / "all"


@pytest.fixture
def table(tmp_path):
    lines = ["nr,body,label", *(f'{10 + n},"{text}",{n // 3}' for n, text in enumerate(TEXTS))]
    (tmp_path / "texts.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "texts.csv"


def counted(rows):
    assert isinstance(rows.values, Sparse)
    x = rows.batch(slice(None)).numpy()
    return [{w: int(n) for w, n in zip(rows.columns, row, strict=True) if n} for row in x]


def test_a_folder_of_texts_counts_words_and_knows_files_and_classes(folder):
    rows = load_rows(folder)
    assert set(rows.columns) >= WORDS
    assert "the" not in rows.columns  # of more than half
    assert "sails" not in rows.columns  # of one row only
    assert counted(rows)[0] == {"of": 1, "sea": 1, "storm": 1}
    assert counted(rows)[4]["grain"] == 2
    assert rows.classes == ("boats", "farms")
    assert rows.row_ids[4] == "farms/4.txt"
    assert rows.are_counts


def test_a_column_is_counted_in_place_of_all_others(folder, table):
    rows = load_rows(table, text="body", row_id="nr")
    assert counted(rows) == counted(load_rows(folder))
    assert rows.row_ids.tolist() == [str(10 + n) for n in range(6)]
    assert rows.labels.tolist() == [0, 0, 0, 1, 1, 1]
    (table.with_suffix(".tsv")).write_text(
        table.read_text().replace(",body,", "\tbody\t").replace(',"', '\t"').replace('",', '"\t')
    )
    assert counted(load_rows(table.with_suffix(".tsv"), text="body")) == counted(rows)


def test_the_vocabulary_is_that_of_the_rows_to_learn_from(table):
    data = dv.load_data(table, text="body", test_fraction=0.34, split_seed=1)
    x = data.train.batch(slice(None))
    assert ((x > 0).sum(0) >= 2).all()
    assert data.test.columns == data.train.columns


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("body,label\nsea\n", "no table of texts"),
        ("title,label\nsea,1\n", "no column 'body'. It has title, label"),
        ("body,label\nsea,1\nharbor,2\n", "no words to count"),
        ("body,label\n1 2,1\n. !,2\n", "no words to count"),
        (b"body\n\xff\xfe\xfa\n", "no table of texts"),
        ('body\n"open\n', "no words to count"),
        ("", "the file is empty"),
        ("body,label\n" + "a" * 200_000 + ",1\n", "no table of texts .field larger"),
    ],
    ids=["short-row", "no-column", "no-words", "no-letters", "bytes", "open", "empty", "long"],
)
def test_what_is_no_table_of_texts_is_refused(tmp_path, content, message):
    path = tmp_path / "texts.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        load_rows(path, text="body")


def trained(folder, out):
    vae = ["--latent", "bernoulli:4", "--hidden", "8", "--epochs", "2", "--out", str(out)]
    assert dv_cli("train", "--data", str(folder), *vae) == 0
    return dv.load_run(out)


def dv_cli(*args):
    from discretevae.cli import call

    return call(list(args))


def test_new_texts_are_counted_by_the_words_of_the_run(folder, tmp_path_factory, capsys):
    work = tmp_path_factory.mktemp("work")
    run = trained(folder, work / "run")
    assert run.model.config.likelihood.kind == "multinomial"
    saved = json.loads((work / "run" / "schema.json").read_text())
    assert saved["columns"] == list(run.schema.columns)
    new = work / "new"
    new.mkdir()
    (new / "a.txt").write_text("grain unknown grain sea")
    (new / "b.txt").write_text("nothing known")
    (new / "c.txt").write_text("")
    with pytest.warns(DataWarning, match="2 rows without a word that the run knows, the first 1 "):
        rows = dv.load_run_rows(run.config.data, run.schema, "all", source=new)
    assert rows.columns == run.schema.columns
    words = counted(rows)
    assert words[0] == {w: n for w, n in (("grain", 2), ("sea", 1)) if w in rows.columns}
    assert words[1:] == [{}, {}]
    codes = run.model.encode(rows)
    assert np.array_equal(codes[1], codes[2])
    capsys.readouterr()
    assert dv_cli("top-words", str(work / "run"), "--k", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["variable"], row["value"]) for row in found[:3]] == [(0, 0), (0, 1), (1, 0)]
    assert all(set(row["words"]) <= set(run.schema.columns) for row in found)


def test_counts_of_another_vocabulary_are_refused(folder, tmp_path_factory):
    import scipy.sparse

    work = tmp_path_factory.mktemp("work")
    run = trained(folder, work / "run")
    n = len(run.schema.columns) + 1
    scipy.sparse.save_npz(work / "other.npz", scipy.sparse.csr_array(2 * np.eye(n, dtype=int)))
    with pytest.raises(DataError, match=f"rows have {n} features, but the model takes {n - 1}"):
        dv.load_run_rows(run.config.data, run.schema, "all", source=work / "other.npz")
