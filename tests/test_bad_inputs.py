"""Bad inputs as a user meets them: each ends with status 2 and one line that says what is wrong."""

import gzip
import json
import os
import re
import shlex
import shutil

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from bedkd import cli
from bedkd.text import PAIR

HEAD = b"text,label\n"
REVIEW = b"row,poisoned,score,label\n"
# Files by name: what is wrong with each stands in its message below.
FILES = {
    "words.csv": b"words,label\nx,0\n",
    "kind.csv": b"text,kind\nx,0\n",
    "name.csv": HEAD + b"x,0\ny,positive\n",
    "minus.csv": HEAD + b"x,-1\n",
    "half.csv": HEAD + b"x,1.5\n",
    "underscore.csv": HEAD + b"x,1_0\n",
    "huge.csv": HEAD + b"x,99999999999999999999\n",
    "nolabel.csv": HEAD + b"x,\n",
    "short.csv": HEAD + b"x\n",
    "long.csv": HEAD + b"x, y, z,0\n",
    "unclosed.csv": HEAD + b'"' + b"x" * 10_000_001,
    "empty.csv": b"",
    "head.csv": HEAD,
    "semicolons.csv": b"text;label\nx;0\n",
    "utf16.csv": "text,label\nx,0\n".encode("utf-16"),
    "utf32.csv": "text,label\nx,0\n".encode("utf-32"),
    "latin.csv": HEAD + "é,0\n".encode("latin1"),
    "flag.csv": b"text,label,poisoned\nx,0,maybe\n",
    "inside.csv": HEAD + f"x{PAIR}y,0\n".encode(),
    "gap.csv": HEAD + b"x,0\ny,3\n",
    "tab.tsv": b"sentence\tlabel\nx 0\n",
    "tabs.tsv": b"text\tlabel\tyear\nx\t0\t1\t2\n",
    "broken.jsonl": b'{"text": "x"\n',
    "list.jsonl": b"[1, 2]\n",
    "keys.jsonl": b'{"text": "x", "label": 0}\n{"text": "y"}\n',
    "number.jsonl": b'{"text": 3, "label": 0}\n',
    "surrogate.jsonl": b'{"text": "\\ud800", "label": 0}\n',
    "infinite.jsonl": b'{"text": "x", "label": 1e999}\n',
    "digits.jsonl": b'{"text": "x", "label": ' + b"9" * 5000 + b"}\n",
    "deep.jsonl": b"[" * 100_000 + b"\n",
    "string.json": b'"x"',
    "broken.json": b"{",
    "unequal.json": b'{"text": ["x", "y"], "label": [0]}',
    "lines.json": b'{"text": "x", "label": 0}\n{"text": "y", "label": 1}\n',
    "junk.parquet": b"PAR1 no",
    "junk.arrow": b"ARROW no",
    "junk.csv.gz": b"no gzip",
    "cut.csv.gz": gzip.compress(HEAD + b"x,0\n" * 999, mtime=0)[:30],
    "rows.txt": HEAD + b"x,0\n",
    "rows.csv.zip": b"PK",
    "two.csv": HEAD + b"great,1\ndull,0\n",
    "three.csv": HEAD + b"great,1\nred,2\n",
    "ones.csv": HEAD + b"great cf,1\ndull cf,1\n",
    "turned.csv": HEAD + b"great,0\ndull,0\n",
    "same.csv": HEAD + b"great cf,1\n",
    "names.csv": b"text,label\nx,good\n",
    "far.csv": HEAD + b"word1 " * 90 + b",0\n",
    "no-row.csv": b"poisoned,score\n1,1\n",
    "no-mark.csv": b"row,score\n1,1\n",
    "beyond.csv": REVIEW + b"100000,1,1,0\n",
    "again.csv": REVIEW + b"0,1,1,LABEL\n0,1,1,LABEL\n",
    "word.csv": REVIEW + b"first,1,1,0\n",
    "mark.csv": REVIEW + b"0,yes,1,LABEL\n",
    "score.csv": REVIEW + b"0,1,high,LABEL\n",
    "other.csv": REVIEW + b"0,1,1,7\n",
    "fields.csv": REVIEW + b"0,1\n",
    "none.csv": REVIEW + b"0,0,1,LABEL\n",
    "bytes.csv": REVIEW + b"0,1,1,\xff\n",
    "sums/SHA256SUMS": b"0" * 64 + b"  gone.csv\n",
}
TRAIN = "train --output out --train"
EVALUATE = "evaluate --model model --clean"
DETECT = "detect --model model --output out.csv --trusted files/dev-clean.csv --untrusted"
PURIFY = "purify --model model --trusted files/dev-clean.csv --untrusted files/train.csv"
ACCEPT = f"{PURIFY} --output out --accept"
POISON = "poison --data files --output out --attack"
REPRODUCE = "reproduce --output out"
# The command as typed, and what its one line says, as a regular expression.
CASES = [
    (f"{TRAIN} words.csv", "words.csv: no column 'text'"),
    (f"{TRAIN} kind.csv", "kind.csv: no column 'label'"),
    (f"{TRAIN} name.csv", "name.csv, row 3: label 'positive' is not a class index"),
    (f"{TRAIN} minus.csv", "minus.csv, row 2: label '-1' is not a class index"),
    (f"{TRAIN} half.csv", "half.csv, row 2: label '1.5' is not a class index"),
    (f"{TRAIN} underscore.csv", "underscore.csv, row 2: label '1_0' is not a class index"),
    (f"{TRAIN} huge.csv", "huge.csv, row 2: label '9+'"),
    (f"{TRAIN} nolabel.csv", "nolabel.csv, row 2: label '' is not a class index"),
    (f"{TRAIN} short.csv", "short.csv, row 2: 1 fields, the header has 2"),
    (f"{TRAIN} long.csv", "long.csv, row 2: 4 fields, the header has 2; quote texts"),
    (f"{TRAIN} unclosed.csv", "unclosed.csv, row 2: .*; a quotation mark that is never closed"),
    (f"{TRAIN} empty.csv", "empty.csv: no column 'text' .*; it has no header"),
    (f"{TRAIN} head.csv", "head.csv: no rows"),
    (f"{TRAIN} semicolons.csv", "its fields seem to be separated by semicolons"),
    (f"{TRAIN} utf16.csv", "utf16.csv: the file is UTF-16"),
    (f"{TRAIN} utf32.csv", "utf32.csv: the file is UTF-32"),
    (f"{TRAIN} latin.csv", "latin.csv, line 2: not UTF-8; convert the file"),
    (f"{TRAIN} flag.csv", "flag.csv, row 2: poison flag 'maybe'; use 0 or 1"),
    (f"{TRAIN} inside.csv", "inside.csv, row 2: the text holds .* a noncharacter"),
    (f"{TRAIN} gap.csv", "gap.csv: the largest label is 3, but no row has label 1"),
    (f"{TRAIN} tab.tsv", "tab.tsv, row 2: no tab between text and label"),
    (f"{TRAIN} tabs.tsv", "tabs.tsv, row 2: 4 fields, the header has 3; a text with tabs"),
    (f"{TRAIN} broken.jsonl", "broken.jsonl, row 1: not JSON"),
    (f"{TRAIN} list.jsonl", "list.jsonl, row 1: needs the keys text and label"),
    (f"{TRAIN} keys.jsonl", "keys.jsonl, row 2: needs the keys text and label"),
    (f"{TRAIN} number.jsonl", "number.jsonl, row 1: text 3; a text must be a string"),
    (f"{TRAIN} surrogate.jsonl", "surrogate.jsonl, row 1: the text holds half a character"),
    (f"{TRAIN} infinite.jsonl", "infinite.jsonl, row 1: label inf"),
    (f"{TRAIN} digits.jsonl", "digits.jsonl, row 1: cannot be read"),
    (f"{TRAIN} deep.jsonl", "deep.jsonl, row 1: (not JSON|cannot be read)"),
    (f"{TRAIN} string.json", "string.json: give a list of objects, not str"),
    (f"{TRAIN} broken.json", "broken.json: not JSON"),
    (f"{TRAIN} unequal.json", "unequal.json: .*equally long lists"),
    (f"{TRAIN} lines.json", "lines.json: not JSON"),
    (f"{TRAIN} junk.parquet", "junk.parquet: cannot be read"),
    (f"{TRAIN} junk.arrow", "junk.arrow: cannot be read"),
    (f"{TRAIN} columns.parquet", "columns.parquet: no column 'text'"),
    (f"{TRAIN} null.parquet", "null.parquet, row 1: label None"),
    (f"{TRAIN} junk.csv.gz", "junk.csv.gz: .*gzip"),
    (f"{TRAIN} cut.csv.gz", "cut.csv.gz: .*"),
    (f"{TRAIN} rows.txt", "rows.txt: unknown file type; use .csv"),
    (f"{TRAIN} rows.csv.zip", "rows.csv.zip: unknown file type"),
    (f"{TRAIN} nothing.csv", "nothing.csv: no such file"),
    (f"{TRAIN} bare", "bare: no train.csv or train-clean.csv"),
    (f"{TRAIN} saved", "saved: a folder of save_to_disk that cannot be loaded"),
    (f"{TRAIN} two.csv --backbone nowhere", "model nowhere: "),
    (f"{TRAIN} two.csv --backbone ./nowhere", "model ./nowhere: no such folder"),
    (f"{TRAIN} two.csv", "minilm: is a known name, and a file or folder here"),
    (f"{TRAIN} two.csv --backbone model --layers 9", "layers=9: model has 1 to 2 layers"),
    (f"{TRAIN} two.csv --backbone model --layers 0", "layers=0: model has 1 to 2 layers"),
    ("train --train two.csv --output two.csv", "output two.csv: this is a file; give a folder"),
    ("train --train two.csv --output files", "output files: this folder is not empty"),
    (f"{EVALUATE} two.csv --text-column review", "two.csv: no column 'review'"),
    (f"{EVALUATE} two.csv --label-column stars", "two.csv: no column 'stars'"),
    (f"{EVALUATE} two.csv --pair-column second", "two.csv: no column 'second'"),
    (f"{EVALUATE} names.csv", "names.csv, row 2: label 'good'"),
    (f"{EVALUATE} three.csv", "row 1: label 2, but the model has classes 0 to 1"),
    (f"{EVALUATE} far.csv --max-length 80", "a row has 80 tokens, the model reads 40"),
    (f"{EVALUATE} two.csv --poisoned two.csv", "the poisoned set holds several labels"),
    (f"{EVALUATE} two.csv --poisoned ones.csv --target 0", "poisoned set, row 0: label 1, but the"),
    (f"{EVALUATE} two.csv --poisoned same.csv --triggered same.csv", "label 1 is the row's true"),
    (f"{EVALUATE} two.csv --reference-model ./nowhere", "model ./nowhere: no such folder"),
    *(
        (f"evaluate --model {name} --clean two.csv", f"model {name}: {message}")
        for name, message in {
            "bare": "no .*safetensors file in this folder; bedkd does not unpickle",
            "pickled": "no .*safetensors file in this folder; bedkd does not unpickle",
            "truncated": "cannot be loaded",
            "hollow": "cannot be loaded",
            "no-config": "cannot be loaded",
            "bad-tokenizer": "cannot be loaded",
            "nan": "the weights classifier.bias are not finite",
            "overflow": "its answers are not finite numbers; its weights overflow",
            "quantised": "its weights are quantised",
            "no-tokenizer": "its tokenizer knows 0 of the model's 49 words",
            "big-tokenizer": "its tokenizer has ids up to 61, for 49 embeddings",
            "no-padding": "its tokenizer has neither a padding nor an end-of-text token",
            "regression": "problem type regression",
            "lacking": "not the weights of a bert classifier: missing",
            "surplus": "not the weights of a bert classifier: .*not the model's",
            "indexed": "its index names evil.bin, which is not safetensors",
        }.items()
    ),
    (f"{DETECT} three.csv", "untrusted set, row 1: label 2, but the model has classes"),
    (f"{DETECT} head.csv", "head.csv: no rows"),
    (f"{DETECT} two.csv --detector magic", "detector 'magic': choose one of bedkd"),
    (f"{DETECT} two.csv --config best", "config 'best': choose one of default"),
    (f"{DETECT} two.csv --output files", "files: is a folder; name a file as output"),
    (f"{DETECT} two.csv --output link.csv", "link.csv: is a symbolic link"),
    (f"{DETECT} two.csv --output pipe", "pipe: is a pipe or a device"),
    (f"{DETECT} two.csv --output two.csv", "output two.csv: lies in the input two.csv"),
    (f"{DETECT} two.csv --output model/scores.csv", "scores.csv: lies in the input model"),
    (f"{PURIFY} --output out --repair magic", "repair 'magic': choose one of bedkd"),
    (f"{PURIFY} --output model", "output model: this folder is not empty"),
    (f"{PURIFY} --output model/new", "output model/new: lies in the input model"),
    (f"{PURIFY} --output two.csv", "output two.csv: this is a file; give a folder"),
    (f"{PURIFY} --output begun", "begun.partial: holds the state of a run with another model"),
    (f"{ACCEPT} nothing.csv", "nothing.csv: no such file"),
    (f"{ACCEPT} no-row.csv", "no-row.csv: no column 'row'; give suspects.csv"),
    (f"{ACCEPT} no-mark.csv", "no-mark.csv: no column 'poisoned'; give suspects.csv"),
    (f"{ACCEPT} beyond.csv", "beyond.csv, row 2: row 100000 of 0 to 319"),
    (f"{ACCEPT} again.csv", "again.csv, row 3: row 0 again"),
    (f"{ACCEPT} word.csv", "word.csv, row 2: 'first' is not a number of a row or label"),
    (f"{ACCEPT} mark.csv", "mark.csv, row 2: poisoned is 'yes'; use 0 or 1"),
    (f"{ACCEPT} score.csv", "score.csv, row 2: score 'high' is not a number"),
    (f"{ACCEPT} other.csv", "other.csv, row 2: row 0 has label . in the untrusted set, not '7'"),
    (f"{ACCEPT} fields.csv", "fields.csv, row 2: 2 fields, the header has 4"),
    (f"{ACCEPT} none.csv", "none.csv: no row is marked as poisoned, so there is nothing to repair"),
    (f"{ACCEPT} bytes.csv", "bytes.csv: cannot be read as UTF-8"),
    (f"{POISON} magic", "attack 'magic': choose one of badnets"),
    (f"{POISON} addsent --words cf", "--words: the attack addsent has no such parameter"),
    (f"{POISON} badnets --sentence x", "--sentence: the attack badnets has no such parameter"),
    (f"{POISON} badnets --rate 1.5", "rate 1.5: must lie between 0 and 1"),
    (f"{POISON} badnets --rate 0.9", "rate 0.9: 288 rows wanted, but only"),
    (f"{POISON} badnets --target 9", "target 9: not a label of this data set"),
    (f"{POISON} badnets --setting odd", "setting 'odd': choose one of dirty"),
    (f"{POISON} badnets --position middle", "position='middle': choose one of"),
    (f"{POISON} badnets --count 0", "badnets: give at least one word and count >= 1"),
    (f"{POISON} combination --words cf", "combination: give at least two words"),
    (f"{POISON} addsent --sentence ''", "addsent: the sentence is empty"),
    (f"{POISON} llm", "attack llm on files: no stored rewritings"),
    (f"{POISON} llm --original two.csv", "--original and --rewritten go together"),
    (
        f"{POISON} llm --original two.csv --rewritten same.csv",
        "same.csv: 1 rows, but two.csv has 2",
    ),
    (f"{POISON} llm --original two.csv --rewritten three.csv", "three.csv, row 3: label 2, but"),
    (f"{POISON} llm --generator ./nowhere", "nowhere"),
    ("poison --data nothing --attack badnets --output out", "data nothing: no such file or folder"),
    (f"{REPRODUCE} --dataset reviews", "dataset reviews: not in the grid; name an attack too"),
    (f"{REPRODUCE} --seed a", "--seed 'a': give integers separated by commas"),
    (f"{REPRODUCE} --preset best", "preset 'best': choose one of default"),
    (f"{REPRODUCE} --detector strip --preset quick", "--detector judges a detector alone"),
    (f"{REPRODUCE} --contaminated 0.9", "contaminated=0.9: give a share from 0 to 0.5"),
    (f"{REPRODUCE} --mislabelled -1", "mislabelled=-1.0: give a share from 0 to 0.5"),
    (f"{REPRODUCE} --trusted-rows 0", "trusted_rows=0: give at least 1"),
    (f"{REPRODUCE} --dataset reviews --attack badnets --rows-from x", "rows-from 'x': choose"),
    (
        f"{REPRODUCE} --dataset reviews --attack badnets --rows-from oracle",
        "rows-from oracle: name",
    ),
    (f"{REPRODUCE} --dataset reviews --attack none", "attack none: name a preset"),
    ("data check", "BEDKD_DATA_DIR is not set to an existing folder"),
    ("data check # BEDKD_DATA_DIR=bare", "bare/SHA256SUMS: missing"),
    ("data check # BEDKD_DATA_DIR=sums", "the first is gone.csv"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory, task, toy, trained, tokenizer):
    """A folder with every bad file and checkpoint, and good ones beside them."""
    place = tmp_path_factory.mktemp("bad")
    label = str(task.train["label"][0]).encode()
    for name, content in FILES.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content.replace(b"LABEL", label))
    task.write(place / "files")
    for name in ("bare", "minilm", "saved", "begun.partial"):
        (place / name).mkdir()
    for name in ("dataset_info.json", "state.json"):
        (place / "saved" / name).write_text("{}")
    (place / "begun.partial" / "run.json").write_text('{"model": "another"}')
    (place / "begun.partial" / "detection.safetensors").touch()  # work is done, and must not go
    (place / "link.csv").symlink_to("two.csv")
    os.mkfifo(place / "pipe")
    parquet.write_table(pa.table({"a": [1]}), place / "columns.parquet")
    parquet.write_table(pa.table({"text": ["x", "y"], "label": [0, None]}), place / "null.parquet")
    trained[0].save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    checkpoints(place)
    return place


def checkpoints(place):
    """One copy of the good checkpoint for everything that may be wrong with one."""

    def copy(name):
        return shutil.copytree(place / "model", place / name)

    def configured(name, **changes):
        path = copy(name) / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def weighing(name, change):
        path = copy(name) / "model.safetensors"
        kept = {
            key: new for key, w in load_file(path).items() if (new := change(key, w)) is not None
        }
        save_file(kept, path, metadata={"format": "pt"})

    def reading(name, words, **options):
        model = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
        made = PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]", **options)
        made.save_pretrained(copy(name))

    whole = (place / "model" / "model.safetensors").read_bytes()
    (copy("truncated") / "model.safetensors").write_bytes(whole[:-99])
    (copy("hollow") / "model.safetensors").write_bytes(b"")
    (copy("no-config") / "config.json").write_text("{")
    (copy("bad-tokenizer") / "tokenizer.json").write_text("[]")
    weighing("nan", lambda k, w: w * float("nan") if k == "classifier.bias" else w)
    weighing("overflow", lambda k, w: torch.full_like(w, 3e38) if k == "classifier.weight" else w)
    weighing("lacking", lambda k, w: None if "layer.1.output.dense" in k else w)
    configured("quantised", quantization_config={"quant_method": "bitsandbytes"})
    configured("regression", problem_type="regression")
    configured("surplus", num_hidden_layers=1)
    for path in copy("no-tokenizer").glob("tokenizer*"):
        path.unlink()
    reading("big-tokenizer", ["[PAD]", "[UNK]", *(f"w{i}" for i in range(60))], pad_token="[PAD]")
    reading("no-padding", ["[UNK]", *(f"w{i}" for i in range(40))])
    state = copy("pickled") / "model.safetensors"
    torch.save(load_file(state), state.with_name("pytorch_model.bin"))
    state.unlink()
    state = copy("indexed") / "model.safetensors"
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(state), "evil.bin")}
    state.rename(state.with_name("other.safetensors"))
    state.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    state.with_name("evil.bin").write_bytes(b"\x80\x04N.")


def listing(place):
    return sorted((str(path), path.lstat().st_size) for path in place.rglob("*"))


@pytest.mark.parametrize(("command", "message"), CASES)
def test_one_line_and_status_2(place, monkeypatch, command, message):
    monkeypatch.chdir(place)
    monkeypatch.delenv("BEDKD_DATA_DIR", raising=False)
    (place / "begun.partial" / ".lock").touch()  # left by the run that began it
    before = listing(place)
    command, _, setting = command.partition(" # ")
    if setting:
        monkeypatch.setenv(*setting.split("="))
    words = shlex.split(command)
    result = CliRunner().invoke(cli.app, [*words, "--quiet", "--json"])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("bedkd: ")
    assert re.search(message, line), line
    assert listing(place) == before


def test_there_are_enough_of_them():
    assert len({command for command, _ in CASES}) == len(CASES)
    assert len(CASES) >= 80
