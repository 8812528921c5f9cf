"""The lists of an export: right by their standards, and read the same by the tools that check them."""

import re
import subprocess
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import bagit
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fsmount import manifests
from fsmount.manifests import FileObject, Written, payload_name
from fsmount.names import content_name

MD5, SHA256 = "0" * 32, "0" * 64
DFXML = "{http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML}"

ODD_NAMES = [
    "100% sure.pdf",
    "%0A%0D%25",
    "a\r\nb",
    "ends in a space ",
    "ends in a no-break space\u00a0",
    "line\u2028separator\u2029",
    "next\u0085line",
    "\ufeffmark\ufffe\uffff",
    "-rf *",
    "../../etc/passwd",
    "META.json",
    "~root",
    '"quoted", with commas',
    "e\u0301 and \u00e9",
    "\ud800",
    " ",
    "*",
]
names = st.one_of(st.text(max_size=300), st.sampled_from(ODD_NAMES))


def exported_name(filename: str) -> str:
    return payload_name(content_name(filename, "text/plain"))


@given(names)
@example("%")
def test_a_name_in_an_export_is_safe_and_needs_no_escape(filename):
    """Nothing in it has to be encoded in any list; it is as long at most, and as little hidden."""
    before = content_name(filename, "text/plain")
    name = payload_name(before)
    assert 0 < len(name.encode()) <= len(before)
    assert not set(name) & set("%\r\n/\0\u0085\u2028\u2029\ufffe\uffff")
    assert name == name.rstrip().rstrip(".")
    assert name[0] not in ".-"
    assert "meta.json" != name.casefold()
    assert name == manifests.bagit_path(name)
    assert [name] == name.splitlines()


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("ledger 2026-Q1.csv", "ledger 2026-Q1.csv"),
        ("100%.txt", "100_.txt"),
        (".hidden", "_2Ehidden"),
        ("a\nb", "a_0Ab"),
        ("trailing  ", "trailing__"),
        ("etc...", "etc___"),
    ],
)
def test_names_stay_recognizable(filename, expected):
    """Most are what they were."""
    assert expected == exported_name(filename)


@given(st.text(max_size=100))
@example("%0a%0D%25")
def test_manifest_paths_are_encoded_as_the_standard_wants(path):
    """CR, LF and % are, nothing else is, and decoding brings the path back."""
    encoded = manifests.bagit_path(path)
    assert not set(encoded) & set("\r\n")
    assert {"%0D", "%0A", "%25"} >= set(re.findall("%..", encoded))
    decoded = re.sub("%(0[AaDd]|25)", lambda match: unquote(match.group()), encoded)
    assert path == decoded


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(names, min_size=1, max_size=5))
@example(ODD_NAMES)
def test_the_bagit_library_reads_every_path_back(filenames):
    """The paths in our manifests are, to the tool that checks bags, those on the disk."""
    paths = [f"data/claude_file_{n}/{exported_name(name)}" for n, name in enumerate(filenames)]
    with tempfile.TemporaryDirectory() as directory:
        lines = manifests.bagit_manifest([Written(path, 1, MD5, SHA256) for path in paths], "md5")
        Path(directory, "manifest-md5.txt").write_bytes("".join(lines).encode())
        Path(directory, "bagit.txt").write_text(manifests.BAG_DECLARATION)
        for path in paths:
            Path(directory, path).parent.mkdir(parents=True)
            Path(directory, path).write_bytes(b"x")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            bag = bagit.Bag(directory)
            assert sorted(paths) == sorted(bag.entries)
            bag.validate(completeness_only=True)


def test_a_fact_is_one_line():
    """Whatever a case is called, it adds no field of its own."""
    info = manifests.bag_info([("External-Identifier", "a\nPayload-Oxum: 0.0"), ("B", "c")])
    assert "External-Identifier: a Payload-Oxum: 0.0\nB: c\n" == info


def test_hashdeep_itself_reads_the_list(tmp_path):
    """Names with commas, quotes and all scripts audit clean; a changed byte does not."""
    names = ['"quoted", with commas', "Übersicht 概要.txt", exported_name("a\u2028 b% "), "x" * 255]
    files = []
    for number, name in enumerate(names):
        path = tmp_path / f"data/{number}/{name}"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        empty = (
            "d41d8cd98f00b204e9800998ecf8427e",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        )
        files.append(Written(f"data/{number}/{name}", 0, *empty))
    lines = manifests.hashdeep_manifest(files, ["a comment\nof two lines"])
    (tmp_path / "known").write_text("".join(lines))
    audit = ["hashdeep", "-a", "-r", "-l", "-k", "known", "data"]
    assert 0 == subprocess.run(audit, cwd=tmp_path, check=False).returncode
    (tmp_path / f"data/0/{names[0]}").write_bytes(b"x")
    assert 0 != subprocess.run(audit, cwd=tmp_path, check=False).returncode


@given(names, st.integers(0, 4 * 10**18))
@example("<&>'\"]]>", 0)
def test_dfxml_is_xml_whatever_the_names(filename, mtime_ns):
    """And says what there is to say of each file."""
    name = exported_name(filename)
    text = "".join(
        manifests.dfxml(
            [FileObject("claude_file_1", Written(name, 7, MD5, SHA256), mtime_ns)],
            source=filename,
            version="1",
            host="<host>",
            time=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )
    root = ET.fromstring(text.encode("utf-8"))
    (file,) = root.findall(f"{DFXML}fileobject")
    assert (name, "7") == (file.findtext(f"{DFXML}filename"), file.findtext(f"{DFXML}filesize"))
    digests = {d.get("type"): d.text for d in file.findall(f"{DFXML}hashdigest")}
    assert {"md5": MD5, "sha256": SHA256} == digests
    mtime = ["mtime"] if mtime_ns else []
    expected = ["filename", "id", "name_type", "filesize", *mtime, "hashdigest", "hashdigest"]
    assert expected == [element.tag.removeprefix(DFXML) for element in file]
    assert ["metadata", "creator", "source", "fileobject"] == [
        element.tag.removeprefix(DFXML) for element in root
    ]


@pytest.mark.parametrize(
    ("mtime_ns", "expected"),
    [
        (1_772_443_708_000_000_000, "2026-03-02T09:28:28Z"),
        (1_772_443_708_028_196_000, "2026-03-02T09:28:28.028196Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
    ],
)
def test_times_keep_their_fractions(mtime_ns, expected):
    """As far as there are any."""
    assert expected == manifests._time(mtime_ns)
