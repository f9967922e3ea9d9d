import csv
import io
import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from multitask.config.files import Layout
from multitask.data.readers import READERS, file_format
from multitask.data.schema import Record
from multitask.errors import UserError

ROWS = [("1", "a plain one", "0"), ("2", 'with "quotes" inside', "1"), ("3", "ünï 🌍 code", "0")]


def read(name: str, content: bytes, *columns: str) -> list[Record]:
    return read_with({}, name, content, *columns)


def read_with(layout: dict[str, Any], name: str, content: bytes, *columns: str) -> list[Record]:
    reader = READERS[name](io.BufferedReader(io.BytesIO(content)), "f", Layout(**layout))
    return list(reader.records(columns or ("id", "text", "label")))


def good(records: list[Record]) -> list[tuple[object, ...]]:
    return [tuple(record.values) for record in records if not record.problem]


def problems(records: list[Record]) -> list[tuple[int, str]]:
    return [(record.line, record.problem) for record in records if record.problem]


def in_format(name: str) -> bytes:
    """`ROWS` with an unnamed index first and a column that nobody asks for last."""
    if name in ("parquet", "arrow"):
        columns = list(zip(*ROWS, strict=True))
        table = pa.table({"id": columns[0], "text": columns[1], "label": columns[2], "x": columns[0]})
        sink = io.BytesIO()
        if name == "parquet":
            pa.parquet.write_table(table, sink)
        else:
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=2)
        return sink.getvalue()
    if name in ("jsonl", "json"):
        objects = [{"x": 1, "id": i, "text": t, "label": n} for i, t, n in ROWS]
        return ("\n".join(map(json.dumps, objects)) if name == "jsonl" else json.dumps(objects, indent=2)).encode()
    delimiter = "," if name == "csv" else "\t"
    quote = (lambda t: t) if name == "glue" else (lambda t: '"' + t.replace('"', '""') + '"')
    lines = [["", "id", "text", "label", "x"], *([str(k), i, quote(t), n, "z"] for k, (i, t, n) in enumerate(ROWS))]
    return "\n".join(delimiter.join(line) for line in lines).encode() + b"\n"


@pytest.mark.parametrize("name", [name for name in READERS if name != "lines"])
def test_every_format_gives_the_same_rows(name: str) -> None:
    assert good(read(name, in_format(name))) == ROWS


@pytest.mark.parametrize("name", ["cs224n", "glue", "csv", "tsv", "jsonl", "json"])
@pytest.mark.parametrize("change", ["bom", "crlf", "no newline at the end", "blank lines", "blanks before"])
def test_byte_order_mark_windows_line_ends_and_blank_lines_do_not_matter(name: str, change: str) -> None:
    content = in_format(name)
    content = {
        "bom": b"\xef\xbb\xbf" + content,
        "crlf": content.replace(b"\n", b"\r\n"),
        "no newline at the end": content.rstrip(b"\n"),
        "blanks before": b" \n\n\t\n" + content,
        "blank lines": content.replace(b"\n", b"\n\n") + b"\n\n",
    }[change]
    records = read(name, content)
    assert good(records) == ROWS
    assert not problems(records)


def test_byte_order_mark_is_not_part_of_the_first_column() -> None:
    assert good(read("csv", b"\xef\xbb\xbfid,text,label\n1,a,0\n")) == [("1", "a", "0")]


def test_glue_takes_quote_characters_as_text() -> None:
    content = b'id\ttext\tlabel\n1\t"an open one\t0\n2\tcloses here"\t1\n'
    assert good(read("glue", content)) == [("1", '"an open one', "0"), ("2", 'closes here"', "1")]


def test_line_is_where_a_record_starts_even_over_several_lines() -> None:
    content = b'id,text,label\n1,"two\nlines, one field",0\n2,b,1\n3,"a\n\n\nb",1\n4,c,0\n'
    records = read("csv", content)
    assert [record.line for record in records] == [2, 4, 5, 9]
    assert records[0].values[1] == "two\nlines, one field"


def test_quote_that_never_closes_costs_its_own_row_only() -> None:
    lines = [b"id\ttext\tlabel"] + [b"%d\ttext %d\t0" % (n, n) for n in range(2, 30)]
    lines[9] = b'10\t"opened and never closed\t0'
    records = read("cs224n", b"\n".join(lines) + b"\n")
    assert problems(records) == [(10, "broken quoting: a quote is opened and never closed")]
    assert [record.line for record in records] == list(range(2, 30))
    assert [values[0] for values in good(records)] == [str(n) for n in range(2, 30) if n != 10]


def test_stray_quote_does_not_swallow_the_rows_up_to_the_next_quoted_field() -> None:
    content = b'id,text,label\n1,"stray,0\n2,b,1\n3,"fine, quoted",1\n4,d,0\n'
    records = read("csv", content)
    assert [line for line, _ in problems(records)] == [2]
    assert "broken quoting" in records[0].problem
    assert good(records) == [("2", "b", "1"), ("3", "fine, quoted", "1"), ("4", "d", "0")]
    assert [record.line for record in records] == [2, 3, 4, 5]


def test_open_quote_and_a_quote_at_the_end_of_a_later_row_merge_no_rows() -> None:
    records = read("cs224n", b'id\ttext\tlabel\n1\t"opened\t0\n2\tmiddle\t1\n3\tends with"\t1\n4\td\t0\n')
    assert problems(records) == [(2, "broken quoting: a quote is opened and never closed")]
    assert good(records) == [("2", "middle", "1"), ("3", 'ends with"', "1"), ("4", "d", "0")]


def test_lines_of_a_quoted_text_that_may_be_rows_are_given_both_ways() -> None:
    content = b'id,text,label\n1,"Hello, world\nI, am",0\n2,b,1\n'
    first, second = read("csv", content)
    assert (first.line, list(first.values)) == (2, ["1", "Hello, world\nI, am", "0"])
    assert [(record.line, list(record.values)) for record in first.apart] == [
        (2, ["1", '"Hello', " world"]),
        (3, ["I", ' am"', "0"]),
    ]
    assert not second.apart


def test_text_after_a_closing_quote_is_broken_quoting() -> None:
    assert problems(read("csv", b'id,text,label\n1,a,0\n2,"b"c,0\n3,d,0\n'))[0][0] == 3


@pytest.mark.parametrize("name", ["csv", "jsonl", "lines"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-be", "cp1252", "utf-8-sig", "utf-8"])
def test_text_in_another_encoding(name: str, encoding: str) -> None:
    text = {"csv": 'text\n"é\nß"\nü\n', "jsonl": '{"text": "é\\nß"}\n{"text": "ü"}\n', "lines": "é\nß\nü\n"}[name]
    records = read_with({"encoding": encoding}, name, text.encode(encoding), "text")
    assert "\n".join(str(record.values[0]) for record in records) == "é\nß\nü"


def test_what_the_layout_says_of_a_delimited_file() -> None:
    expected = [("1", "a,b", "0"), ("2", "#c", "1")]
    told = {"delimiter": ";", "comment": "#"}
    assert good(read_with(told, "csv", b"# by hand\n\nid;text;label\n#x;y;z\n1;a,b;0\n2;#c;1\n")) == expected
    assert good(read_with({"header": ("id", "text", "label")}, "glue", b"1\ta,b\t0\n2\t#c\t1\n")) == expected
    assert good(read("csv", b"\xef\xbb\xbfSEP=;\r\nid;text;label\r\n1;a,b;0\r\n2;#c;1\r\n")) == expected
    assert good(read_with({"delimiter": "\\t"}, "csv", b"id\ttext\tlabel\n1\ta,b\t0\n2\t#c\t1\n")) == expected
    records = read_with({"comment": "#"}, "csv", b'text\n"a\n#b"\n#c\nd\n', "text")
    assert [(record.line, record.values[0]) for record in records] == [(2, "a\n#b"), (5, "d")]


def test_field_beyond_the_limit_is_not_said_to_be_an_open_quote_alone() -> None:
    records = read("csv", b"id,text,label\n1," + b"x" * (2**24 + 1) + b",0\n2,a,1\n")
    assert problems(records) == [
        (2, "a field is longer than 16,777,216 characters; is a quote opened and never closed?")
    ]


def test_json_keys_inside_keys_are_named_by_paths() -> None:
    content = b'{"data": {"text": {"en": "a"}}, "y.z": 1}\n{"data": {"text": "b"}, "y": {"z": 2}}\n{"data": 3}\n'
    assert READERS["jsonl"](io.BytesIO(content), "f").columns == ["data", "data.text", "data.text.en", "y.z", "y"]
    assert good(read("jsonl", content, "data.text.en", "y.z")) == [("a", 1), (None, 2), (None, None)]


def test_deep_json_has_paths_as_far_as_people_write_them() -> None:
    content = b'{"text": "x", "a": ' + b'{"a": ' * 600 + b"1" + b"}" * 601
    assert good(read("jsonl", content, "text")) == [("x",)]


def test_json_file_is_an_array_or_lines() -> None:
    rows = [{"text": "a"}, 5, {"text": "c"}]
    for content in (
        json.dumps(rows),
        json.dumps(rows, indent=1),
        "\n \n" + json.dumps(rows),
        "\n".join(map(json.dumps, rows)),
    ):
        records = read("json", content.encode(), "text")
        assert good(records) == [("a",), ("c",)]
        assert [reason for _, reason in problems(records)] == ["not a JSON object"]
    with pytest.raises(UserError, match=r"f: not valid JSON: Expecting ',' delimiter at line 2 column 1"):
        read("json", b'[{"text": "a"}\n{"text": "b"}]')


def test_bare_carriage_return_is_one_bad_row() -> None:
    records = read("csv", b"id,text,label\n1,a\rb,0\n2,c,0\n")
    assert problems(records) == [(2, "a bare carriage return outside of quotes")]
    assert good(records) == [("2", "c", "0")]


def test_bare_carriage_return_is_no_text_where_quotes_are_text() -> None:
    assert problems(read("glue", b"id\ttext\tlabel\n1\ta\rb\t0\n")) == [(2, "a bare carriage return outside of quotes")]


@pytest.mark.parametrize("change", ["as it is", "crlf", "no newline at the end", "texts only"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_tsv_of_pandas_is_read_as_pandas_wrote_it(quoting: int, change: str) -> None:
    texts = ["plain", 'says "hi" twice', "a\ttab", "two\nlines", 'ends "here"', "it's", '"', "last"]
    frame = pd.DataFrame({"id": range(len(texts)), "text": texts, "label": 1})
    written = frame.to_csv(sep="\t", index=False, quoting=quoting, lineterminator="\r\n" if change == "crlf" else "\n")
    content = written.rstrip() if change == "no newline at the end" else written
    if change == "texts only" and quoting != csv.QUOTE_MINIMAL:
        content = frame[frame.text.str.isalpha()].to_csv(sep="\t", index=False, quoting=quoting)
        texts = ["plain", "last"]
    assert [values[1] for values in good(read("tsv", content.encode()))] == texts


@pytest.mark.parametrize(
    "lines",
    [
        ['1\t"an open one\t0', '2\tcloses here"\t1'],
        ['1\t"Quoted," she said.\t0', '2\t"all of it"\t1'],
        ['1\t"all of it"\t0', "2\tnone\t1"],
        ['1\ta 5" disk\t0', '2\t""\t1', '3\t"""x""\t0'],
        ['1\t"one\t0', "2\tb", '3\t"c"\t1'],
        ['"1\tx"\t0', "2\tb\t1"],
    ],
)
def test_tsv_of_glue_keeps_its_quote_characters(lines: list[str]) -> None:
    content = "\n".join(["id\ttext\tlabel", *lines]).encode()
    assert good(read("tsv", content)) == good(read("glue", content))


def test_quotes_that_come_late_are_told_from_where_they_are() -> None:
    plain = [f"{n}\ttext {n}\t0" for n in range(5000)]
    for name, field in (("cs224n", '"says ""hi"""'), ("glue", 'says "hi"')):
        content = "\n".join(["id\ttext\tlabel", *plain, f"x\t{field}\t1", *plain[:3000]]).encode()
        assert read("tsv", content) == read(name, content)


def test_file_that_quotes_and_does_not_is_asked_about() -> None:
    content = b'id\ttext\tlabel\n1\tx\t0\n2\t"a ""b"" c"\t0\n3\tbare " one\t1\n'
    with pytest.raises(
        UserError, match=r"f: line 3 quotes a field .*, line 4 does not: set the task's layout\.quoting"
    ):
        read("tsv", content)
    for quoting, text in (("standard", 'a "b" c'), ("none", '"a ""b"" c"')):
        reader = READERS["tsv"](io.BytesIO(content), "f", Layout(quoting=quoting))
        assert [record.values[0] for record in reader.records(["text"])][1] == text


def test_comments_do_not_tell_how_a_file_quotes() -> None:
    content = b'#"made" by hand\nid\ttext\tlabel\n#a "comment"\n1\t"a ""b"" c"\t0\n#d "e"\n2\tf\t1\n'
    assert good(read_with({"comment": "#"}, "tsv", content)) == [("1", 'a "b" c', "0"), ("2", "f", "1")]


@pytest.mark.parametrize("name", ["cs224n", "glue"])
def test_rows_with_too_few_or_too_many_fields_are_bad(name: str) -> None:
    records = read(name, b"id\ttext\tlabel\n1\ta\n2\tb\t0\n3\tc\t0\tmore\n")
    assert problems(records) == [(2, "has 2 fields, the header has 3"), (4, "has 4 fields, the header has 3")]


def test_long_fields_are_read_whole() -> None:
    text = "x" * 300_000
    assert good(read("csv", f"id,text,label\n1,{text},0\n".encode())) == [("1", text, "0")]


def test_broken_header_is_said() -> None:
    with pytest.raises(UserError, match="f:1: the header: broken quoting"):
        read("csv", b'id,"text,label\n1,a,0\n')


@pytest.mark.parametrize("name", ["cs224n", "glue", "csv", "jsonl"])
def test_empty_file_has_no_columns(name: str) -> None:
    assert READERS[name](io.BytesIO(b""), "f").columns == []


def test_jsonl_reports_broken_lines_by_number() -> None:
    content = b'{"id": 1, "text": "a", "label": 0}\n{"id": 2,\n[1, 2]\n\n{"id": 3, "text": "c"}\n'
    records = read("jsonl", content)
    assert [line for line, _ in problems(records)] == [2, 3]
    assert problems(records)[0][1].startswith("not valid JSON: ")
    assert problems(records)[1][1] == "not a JSON object"
    assert good(records) == [(1, "a", 0), (3, "c", None)]
    assert [record.line for record in records] == [1, 2, 3, 5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "a", "text": "b"}', "not valid JSON: the key 'text' stands twice"),
        (b'{"text": {"a": 1, "a": 2}}', "not valid JSON: the key 'a' stands twice"),
        (b"[" * 100_000, "not valid JSON: nested too deeply"),
    ],
)
def test_json_that_has_two_readings_or_none_is_a_bad_row(line: bytes, reason: str) -> None:
    records = read("jsonl", b'{"text": "x"}\n' + line + b'\n{"text": "y"}\n', "text")
    assert problems(records) == [(2, reason)]
    assert good(records) == [("x",), ("y",)]


def test_file_that_is_not_json_lines_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="f:1: not valid JSON"):
        read("jsonl", b"id,text,label\n1,a,0\n")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_parquet_text_types_and_bytes_that_are_not_utf8(kind: pa.DataType) -> None:
    bad = pa.array([b"fine", b"\xff\xfe", None], pa.large_binary() if kind == pa.large_string() else pa.binary())
    sink = io.BytesIO()
    texts = pa.array(["a", "b", "c"]).cast(kind)
    pa.parquet.write_table(pa.table({"id": [1, 2, 3], "text": texts, "label": [0.0, 1.0, None]}), sink)
    assert good(read("parquet", sink.getvalue())) == [(1, "a", 0.0), (2, "b", 1.0), (3, "c", None)]
    if kind != pa.string_view():
        unchecked = pa.Array.from_buffers(kind, 3, bad.buffers())
        sink = io.BytesIO()
        pa.parquet.write_table(pa.table({"text": unchecked}), sink)
        assert good(read("parquet", sink.getvalue(), "text")) == [("fine",), ("\udcff\udcfe",), (None,)]


@pytest.mark.parametrize("name", ["parquet", "arrow"])
@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.large_binary(), pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.binary())],
)
def test_texts_may_be_bytes_or_in_a_dictionary(name: str, kind: pa.DataType) -> None:
    table = pa.table({"text": pa.array(["é", "b", None, "é"]).cast(pa.binary()).dictionary_encode().cast(kind)})
    sink = io.BytesIO()
    if name == "parquet":
        pa.parquet.write_table(table, sink)
    else:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    assert good(read(name, sink.getvalue(), "text")) == [("é",), ("b",), (None,), ("é",)]


def test_parquet_rows_are_numbered_over_record_batches() -> None:
    sink = io.BytesIO()
    pa.parquet.write_table(pa.table({"id": range(5000)}), sink, row_group_size=700)
    records = read("parquet", sink.getvalue(), "id")
    assert [record.line for record in records] == list(range(1, 5001))
    assert [record.values[0] for record in records] == list(range(5000))


def test_what_is_not_parquet_is_said() -> None:
    with pytest.raises(UserError, match="f: not a Parquet file"):
        read("parquet", b"id,text\n")


def test_suffix_tells_the_format() -> None:
    names = ["a.tsv", "a.csv", "b.JSONL", "s3://x/a.ndjson", "a.parquet", "a.pq", "a.txt", "a.csv.gz", "b.jsonl.ZST"]
    wanted = ["tsv", "csv", "jsonl", "jsonl", "parquet", "parquet", "lines", "csv", "jsonl"]
    assert [file_format(name, "t") for name in names] == wanted
    with pytest.raises(
        UserError, match=r"tasks\.t\.format: the suffix of a\.doc .* cs224n, glue, csv, tsv, jsonl, json, parquet"
    ):
        file_format("a.doc", "t")


def test_plain_lines_are_rows_with_one_column() -> None:
    content = b'\xef\xbb\xbfone text\r\n\n  \n  two, "texts"\t.  \n\xffbad\nlast'
    records = read("lines", content, "text")
    assert [(r.line, r.values[0]) for r in records] == [
        (1, "one text"),
        (4, 'two, "texts"\t.'),
        (5, "\udcffbad"),
        (6, "last"),
    ]


def test_plain_lines_end_at_carriage_returns_too_and_nowhere_else() -> None:
    content = "one\rtwo\r\n\r\nthree\u2028still\x85three\x0cstill\nlast\r".encode()
    found = [(record.line, record.values[0]) for record in read("lines", content, "text")]
    assert found == [(1, "one"), (2, "two"), (4, "three\u2028still\x85three\x0cstill"), (5, "last")]
