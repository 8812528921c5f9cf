"""Settings are checked once; whatever can't be meant is refused with one line that names the option."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmount import config
from fsmount.config import KEY_VARIABLE, MountSettings, SecretKey
from fsmount.errors import UsageError

KEY = "sk-ant-api01-not-a-real-key"
ID = "claude_file_01AbCdEf"
OPTIONS = ("max_rpm", "key_file", "umask", "deny_programs", "offline", "timeout")
WANTED = dict.fromkeys(OPTIONS, False) | {"user": True}
KNOWN = {*WANTED, "cache_size"}


def settings(**changes: object) -> MountSettings:
    values: dict[str, object] = {"case": "c", "mountpoint": Path("/m"), "key": SecretKey(KEY)}
    return MountSettings(**(values | changes))  # type: ignore[arg-type]  # of any option


def test_the_key_does_not_show_itself():
    """Neither the key nor settings that hold it show it when they are printed or formatted."""
    shown = (
        f"{settings()!r} {settings()} {SecretKey(KEY)} {SecretKey(KEY)!r:>40} {[SecretKey(KEY)]}"
    )
    assert KEY not in shown
    assert KEY == SecretKey(KEY).reveal()


def test_settings_are_frozen():
    """Nothing changes settings after they were checked."""
    with pytest.raises(AttributeError):
        settings().max_rpm = 1  # type: ignore[misc]  # what is refused


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"allow_move": True}, "--allow-move"),
        ({"offline": True, "allow_delete": True}, "--allow-delete"),
        ({"key": None}, "--key-file"),
        ({"timeout_s": 0.5}, "--timeout"),
        ({"timeout_s": float("nan")}, "--timeout"),
        ({"timeout_s": float("inf")}, "--timeout"),
        ({"max_rpm": 0}, "--max-rpm"),
        ({"umask": 0o1000}, "--umask"),
        ({"umask": -1}, "--umask"),
        ({"uid": -1}, "--uid"),
        ({"gid": 2**32 - 1}, "--gid"),
    ],
)
def test_what_can_not_be_meant_is_refused(changes: dict[str, object], named: str):
    """The message names the option and is one line."""
    with pytest.raises(UsageError, match=named) as caught:
        settings(**changes)
    assert "\n" not in str(caught.value)


def test_offline_needs_no_key():
    """An offline mount makes no requests, so it asks for no key."""
    assert settings(key=None, offline=True).key is None


def test_a_wrong_option_is_named_before_a_missing_key():
    """Who mistypes an option reads about that, not about the key that is missing as well."""
    with pytest.raises(UsageError, match="--max-rpm"):
        settings(key=None, max_rpm=0)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4k", 4096),
        ("4K", 4096),
        ("16MiB", 16 << 20),
        ("16 MiB", 16 << 20),
        ("16mib", 16 << 20),
        (" 10GiB ", 10 << 30),
        ("1T", 1 << 40),
    ],
)
def test_sizes(text: str, size_bytes: int):
    """A size is a whole number with or without a binary unit."""
    assert size_bytes == config.parse_size(text, "--cache-size")


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "+1", "1.5G", "16MB", "16iB", "1e3", "0x10", "٣", "1 2", "9" * 5000]
)
def test_what_is_no_size(text: str):
    """Anything else is refused; also "MB", which has two meanings."""
    with pytest.raises(UsageError, match="--cache-size"):
        config.parse_size(text, "--cache-size")


def test_a_size_fits_into_a_file_offset():
    """A size beyond what file systems can hold is refused rather than overflowing later."""
    assert (1 << 63) - (1 << 40) == config.parse_size(f"{(1 << 23) - 1}T", "--cache-size")
    with pytest.raises(UsageError):
        config.parse_size(f"{1 << 23}T", "--cache-size")


@given(st.integers(0, 1 << 20), st.sampled_from([("", 0), ("KiB", 10), ("M", 20), ("GiB", 30)]))
def test_every_size_means_itself(number: int, unit: tuple[str, int]):
    """The unit multiplies by its power of two, for every number."""
    name, power = unit
    assert number * 2**power == config.parse_size(f"{number}{name}", "--cache-size")


def test_verified_open():
    """`all` has no bound, `none` has the bound 0, anything else is a size."""
    found = [config.parse_verified_open(text) for text in ("all", "none", "None", "1MiB")]
    assert [None, 0, 0, 1 << 20] == found


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        ("default", config.DEFAULT_DENY_PROGRAMS),
        ("none", frozenset()),
        ("rg, updatedb*", frozenset({"rg", "updatedb*"})),
        ("default,rg", config.DEFAULT_DENY_PROGRAMS | {"rg"}),
    ],
)
def test_deny_programs(text: str, programs: frozenset[str]):
    """A list stands for itself and may add to the default one."""
    assert programs == config.parse_deny_programs(text)


@pytest.mark.parametrize("text", ["", ",", "/usr/bin/rg"])
def test_a_program_list_that_would_match_nothing_is_refused(text: str):
    """Programs are known by name, so an empty list or a path would silently deny nobody."""
    with pytest.raises(UsageError, match="--deny-programs"):
        config.parse_deny_programs(text)


def test_umask_is_octal():
    """A umask is read as octal digits."""
    assert [0o077, 0o027] == [config.parse_umask(text) for text in ("0077", "27")]
    with pytest.raises(UsageError, match="--umask"):
        config.parse_umask("0o99")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.anthropic.com",
        "http://127.0.0.1:8000",
        "http://127.8.9.1",
        "http://[::1]:80/prefix",
        "http://localhost:1",
        "http://api.localhost",
        "HTTP://LOCALHOST",
    ],
)
def test_where_the_key_may_go(url: str):
    """Encrypted anywhere, in the clear only to this machine."""
    assert url == config.check_base_url(url + "/", insecure_http=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com",
    ],
)
def test_where_the_key_may_not_go(url: str):
    """In the clear to another machine only when that was asked for; whatever the host looks like."""
    with pytest.raises(UsageError, match="--base-url"):
        config.check_base_url(url, insecure_http=False)


def test_insecure_http_is_possible_when_asked_for():
    """--insecure-http lifts the rule."""
    url = "http://proxy.example"
    assert url == config.check_base_url(url, insecure_http=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.anthropic.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "https://",
        "https://[bad",
        "https://host:99999",
        "https://host:0",
        "https://host:x",
        "https://ho st",
        "https://host\nx: y",
        "https://host/?a=b",
        "https://host/#a",
        "https://user:secret@host",
    ],
)
def test_what_is_no_base_url(url: str):
    """Anything that is not a plain http(s) URL is refused in one line."""
    with pytest.raises(UsageError, match="--base-url") as caught:
        config.check_base_url(url, insecure_http=True)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


class TestKey:
    def test_a_named_file_comes_first(self, tmp_path: Path):
        """The file that was named wins over the credential and the environment."""
        named, credential = tmp_path / "named", tmp_path / config.CREDENTIAL_NAME
        for path, key in ((named, "named-key"), (credential, "credential-key")):
            path.touch(mode=0o600)
            path.write_text(f"{key}\n")
        environ = {KEY_VARIABLE: "variable-key", "CREDENTIALS_DIRECTORY": str(tmp_path)}
        assert "named-key" == self.found(named, dict(environ))
        assert "credential-key" == self.found(None, dict(environ))
        del environ["CREDENTIALS_DIRECTORY"]
        assert "variable-key" == self.found(None, environ)
        assert (None, []) == config.find_key(None, {})

    def test_no_child_inherits_the_key(self, tmp_path: Path):
        """The variable leaves the environment, also where the key is taken from elsewhere or not needed."""
        for offline in (False, True):
            environ = {KEY_VARIABLE: KEY, "PATH": "/bin"}
            config.find_key(self.key_file(tmp_path), environ, offline=offline)
            assert {"PATH": "/bin"} == environ

    def test_offline_reads_no_key(self, tmp_path: Path):
        """An offline mount does not mind a key file that is not there."""
        assert (None, []) == config.find_key(tmp_path / "none", {}, offline=True)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
    def test_a_key_file_that_others_can_read_is_warned_of(self, tmp_path: Path, mode: int):
        """The warning names the file and what to do; the key is used all the same."""
        path = self.key_file(tmp_path, mode)
        key, warnings = config.find_key(path, {})
        assert key is not None
        assert [f"the key file {path} can be read by others; run: chmod 600 {path}"] == warnings

    def test_a_credential_is_not_warned_of(self, tmp_path: Path):
        """The service manager's access lists look like group permissions, which is no one's mistake."""
        path = tmp_path / config.CREDENTIAL_NAME
        path.write_text(KEY)
        path.chmod(0o440)
        _, warnings = config.find_key(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert [] == warnings

    @pytest.mark.parametrize("text", ["", "\n"])
    def test_a_credential_without_a_key_is_none(self, tmp_path: Path, text: str):
        """A service has it where its key file is missing; the line does not send anybody to /run."""
        (tmp_path / config.CREDENTIAL_NAME).write_text(text)
        environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        with pytest.raises(
            UsageError, match="no API key: the credential compliance-access-key is missing"
        ):
            config.find_key(None, environ)

    def test_a_credential_that_cannot_be_read_is_one_line(self, tmp_path: Path):
        """As with any other key file."""
        (tmp_path / config.CREDENTIAL_NAME).mkdir()
        with pytest.raises(UsageError, match="can't be read"):
            config.find_key(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    @pytest.mark.parametrize(
        "text", ["", " \n", "one\ntwo", "two words", "kéy", "tab\tkey", "nul\0"]
    )
    def test_what_is_no_key(self, tmp_path: Path, text: str):
        """Neither a file nor the variable may hold something else; the message does not quote it."""
        path = tmp_path / "key"
        path.touch(mode=0o600)
        path.write_text(text)
        sources: list[tuple[Path | None, dict[str, str]]] = [
            (path, {}),
            (None, {KEY_VARIABLE: text}),
        ]
        for key_file, environ in sources:
            with pytest.raises(UsageError, match="holds no usable key") as caught:
                config.find_key(key_file, environ)
            assert not text.strip() or text.strip() not in str(caught.value)

    @pytest.mark.parametrize("name", ["none", ".", "binary", "endless"])
    def test_a_key_file_that_is_none(self, tmp_path: Path, name: str):
        """A missing file, a directory, a binary file and a device each end in one line."""
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        (tmp_path / "endless").symlink_to("/dev/zero")
        with pytest.raises(UsageError, match=r"can't be read|no usable key"):
            config.find_key(tmp_path / name, {})

    @staticmethod
    def key_file(directory: Path, mode: int = 0o600) -> Path:
        path = directory / "key"
        path.write_text(KEY)
        path.chmod(mode)
        return path

    @staticmethod
    def found(path: Path | None, environ: dict[str, str]) -> str:
        key, _ = config.find_key(path, environ)
        assert key is not None
        return key.reveal()


class TestIds:
    def test_bad_lines_are_named_and_the_rest_goes_on(self):
        """Each malformed line is reported by its number; blank lines and comments are passed over."""
        lines = [
            f"{ID}\n",
            "\n",
            "# a comment\n",
            "nonsense\n",
            f"  {ID}x # why\r\n",
            "../etc\n",
            ID,
        ]
        ids, problems = config.parse_ids(lines)
        assert [ID, f"{ID}x"] == ids
        assert ["line 4", "line 6"] == [problem.partition(":")[0] for problem in problems]

    def test_messages_about_lines_are_short_and_plain(self):
        """What a line holds is quoted, cut and escaped."""
        _, (problem,) = config.parse_ids(["\x1b[31m" + "x" * 1000])
        assert problem.isprintable()
        assert len(problem) < 150

    def test_a_file_from_a_spreadsheet(self, tmp_path: Path):
        """A byte order mark and carriage returns do not spoil ids."""
        path = tmp_path / "ids"
        path.write_bytes(b"\xef\xbb\xbf" + f"{ID}\r\n{ID}2\r\n".encode())
        assert ([ID, f"{ID}2"], []) == config.read_ids(path)

    def test_bytes_that_are_no_text(self, tmp_path: Path):
        """A line that is not UTF-8 is a malformed line like any other."""
        path = tmp_path / "ids"
        path.write_bytes(b"\xff\xfe\n" + ID.encode())
        ids, problems = config.read_ids(path)
        assert [ID] == ids
        assert 1 == len(problems)

    def test_a_file_without_any_id_is_wrong_usage(self, tmp_path: Path):
        """It is another file than was meant; an empty one just names nobody."""
        path = tmp_path / "ids"
        path.write_text("nothing\nof the kind\n")
        with pytest.raises(UsageError, match="no line is a file id; line 1: 'nothing' is not"):
            config.read_ids(path)
        path.write_text("# nobody\n")
        assert ([], []) == config.read_ids(path)

    def test_many_lines_that_are_no_ids_are_counted(self, tmp_path: Path):
        """The first ones show what is wrong; hundreds would hide everything else."""
        path = tmp_path / "ids"
        path.write_text(f"{ID}\n" + "x\n" * 500)
        ids, problems = config.read_ids(path)
        assert ([ID], 11) == (ids, len(problems))
        assert "490 more lines are no file ids, passed over" == problems[-1]

    def test_standard_input(self, tmp_path: Path):
        """`-` is standard input, which stays open."""
        path = tmp_path / "ids"
        path.write_text(ID)
        saved = os.dup(0)
        try:
            with path.open() as ids:
                os.dup2(ids.fileno(), 0)
            assert ([ID], []) == config.read_ids(Path("-"))
            os.fstat(0)
        finally:
            os.dup2(saved, 0)
            os.close(saved)

    def test_a_missing_file(self, tmp_path: Path):
        """A file that can't be read is wrong usage."""
        with pytest.raises(UsageError, match="--ids-file"):
            config.read_ids(tmp_path / "none")

    @given(st.lists(st.text()))
    def test_any_lines(self, lines: list[str]):
        """Whatever the lines hold, each is an id, a problem, or nothing."""
        ids, problems = config.parse_ids(lines)
        assert len(ids) + len(problems) <= len(lines)
        assert all(problem.isprintable() for problem in problems)


class TestOptionsFile:
    def read(self, tmp_path: Path, text: str) -> dict[str, object]:
        path = tmp_path / "fsmount.toml"
        path.write_text(text)
        return config.read_options(path, KNOWN, WANTED)

    def test_values_keep_their_types(self, tmp_path: Path):
        """Text, numbers and truth values come as TOML has them."""
        text = 'max_rpm = 60\noffline = true\ntimeout = 1.5\nkey_file = "/k"\numask = "0077"'
        expected = {"max_rpm": 60, "offline": True, "timeout": 1.5, "key_file": "/k"}
        assert expected | {"umask": "0077"} == self.read(tmp_path, text)

    def test_programs_may_be_a_list(self, tmp_path: Path):
        """A list of programs means the same as names between commas."""
        found = self.read(tmp_path, 'deny_programs = ["rg", "grep"]')
        assert {"deny_programs": "rg,grep"} == found

    def test_options_of_other_commands_are_passed_over(self, tmp_path: Path):
        """Whatever their values are: it is for those commands to judge them."""
        assert {"max_rpm": 60} == self.read(tmp_path, "max_rpm = 60\ncache_size = [1, {}]")

    def test_an_option_that_may_be_given_several_times_may_be_a_list(self, tmp_path: Path):
        """One value needs no list."""
        assert {"user": ["a", "b"]} == self.read(tmp_path, 'user = ["a", "b"]')
        assert {"user": "a"} == self.read(tmp_path, 'user = "a"')

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("cache_sise = 1", "'cache_sise'; the nearest option is cache_size"),
            ("user = [1]", "user must be one value"),
            ("max_rmp = 1", "'max_rmp'; the nearest option is max_rpm"),
            ("max-rpm = 1", "'max-rpm'; the nearest option is max_rpm"),
            ('key = "k"', "'key'; the nearest option is key_file"),
            ("[mount]\nmax_rpm = 1", "'mount'"),
            ("umask = 0o077", "umask must be text"),
            ("key_file = [1]", "key_file must be one value"),
            ("timeout = {a = 1}", "timeout must be one value"),
            ("timeout = 2026-01-01", "timeout must be one value"),
            ("max_rpm = = 1", "is not TOML"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path: Path, text: str, said: str):
        """The message names the file, the key, and for a key that is none the nearest one."""
        with pytest.raises(UsageError, match=r"fsmount\.toml") as caught:
            self.read(tmp_path, text)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_files_that_can_not_be_read(self, tmp_path: Path):
        """A missing file, a directory and a binary file each end in one line."""
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        for name in ("none", ".", "binary"):
            with pytest.raises(UsageError, match="--config"):
                config.read_options(tmp_path / name, KNOWN, WANTED)
