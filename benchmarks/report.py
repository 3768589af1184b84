"""report: one page of all results of a folder, from their JSON alone: tables, plots, and what they were run on."""

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.markdown import markdown
from benchmarks.result_file import JSONObject, ResultFile, ResultFileError, read_result_file

PAGE = "report.md"
FORMATS = ("svg", "png")
PLOTS_NEED = "pip install -c constraints.txt matplotlib"
# What a module meets in a result of another version, which has other names and kinds of values.
OTHER_FORMAT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class Section:
    """One benchmark's result. plot: a matplotlib Figure; None: it has none, or none was to be drawn. left_out: why the
    result is not shown."""

    name: str
    file: ResultFile
    text: str = ""
    has_plot: bool = False
    plot: Any = None
    left_out: str = ""

    @property
    def plot_name(self) -> str:
        """The plot's file without its ending: named after the result's, and after the benchmark where it has more."""
        stem = Path(self.file.name).stem
        return stem if len(self.file.results) == 1 else f"{stem}-{self.name}"


@dataclass(frozen=True)
class Report:
    """What the results of a folder tell, in the order of the suite. unread: why files were not read."""

    sections: list[Section]
    unread: list[str]

    @property
    def left_out(self) -> list[str]:
        """Why a file or a result is not shown, for each that is not."""
        return [*self.unread, *(section.left_out for section in self.sections if section.left_out)]

    def page(self, *, with_plots: bool) -> str:
        """Return the Markdown. with_plots: that there are files of them."""
        shown = [section for section in self.sections if not section.left_out]
        left_out = ["## Left out", "\n".join(f"- {reason}" for reason in self.left_out)] if self.left_out else []
        intro = f"Made by `python -m benchmarks report` from {_counted(len({one.file.name for one in shown}))}."
        return "\n\n".join(["# Results", intro, *(_told(section, with_plots) for section in shown), *left_out]) + "\n"

    def write(self, out: Path) -> list[Path]:
        """Write the page, and the plots if matplotlib is installed; return the files."""
        out.mkdir(parents=True, exist_ok=True)
        page = out / PAGE
        page.write_text(self.page(with_plots=can_draw()), encoding="utf-8")
        plots = [path for section in self.sections if section.plot is not None for path in _drawn(section, out)]
        return [page, *plots]


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def make_report(folder: Path, benchmarks: Mapping[str, ModuleType], *, draws: bool) -> Report:
    """Return what the folder's JSON files tell. draws: with plots, which takes matplotlib.

    Raises ResultFileError for a folder without any.
    """
    files, unread = [], []
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ResultFileError(
            f"{folder} has no results, FILE.json: python -m benchmarks NAME --json {folder}/FILE.json"
        )
    for path in paths:
        try:
            files.append(read_result_file(path))
        except ResultFileError as error:
            unread.append(str(error))
    known = [(name, file) for name in benchmarks for file in files if name in file.results]
    unread += [
        f"{file.name}: there is no benchmark {name!r}"
        for file in files
        for name in file.results
        if name not in benchmarks
    ]
    return Report([_section(name, file, benchmarks[name], draws) for name, file in known], unread)


def _section(name: str, file: ResultFile, module: ModuleType, draws: bool) -> Section:
    result, has_plot = file.results[name], hasattr(module, "plot")
    try:
        plot = module.plot(result) if draws and has_plot else None
        return Section(name, file, markdown(module.table(result)), has_plot, plot)
    except OTHER_FORMAT as error:
        return Section(name, file, left_out=f"{file.name}: {name} is of another version: {error!r}; measure it anew")


def _told(section: Section, with_plots: bool) -> str:
    heading = section.name if Path(section.file.name).stem == section.name else f"{section.name} ({section.file.name})"
    plot = f"![{section.name}]({section.plot_name}.svg)" if with_plots else f"A plot takes matplotlib: `{PLOTS_NEED}`."
    return "\n\n".join([f"## {heading}", section.text, *([plot] if section.has_plot else []), _stamped(section)])


def _stamped(section: Section) -> str:
    """Return what a result was run on."""
    stamp = section.file.stamp
    machine = ", ".join(filter(None, (stamp.get("processor"), _cores(stamp), stamp.get("system"))))
    versions = {"Python": stamp.get("python"), **stamp.get("packages", {}), **_packages(section)}
    lines = {
        "command": f"`{' '.join(stamp.get('command', ['unknown']))}`",
        "time": _time(section),
        "machine": machine,
        "commit": f"{stamp.get('commit', 'unknown')}{', and changes' if stamp.get('changed_since_commit') else ''}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    }
    return "\n".join(f"- {what}: {told}" for what, told in lines.items())


def _cores(stamp: JSONObject) -> str:
    return f"{stamp['cores']} cores" if "cores" in stamp else ""


def _packages(section: Section) -> Mapping[str, str | None]:
    """Return the versions of rivals, where a result has them."""
    packages: Mapping[str, str | None] = section.file.results[section.name].get("packages", {})
    return packages


def _time(section: Section) -> str:
    begun, duration_s = section.file.stamp.get("time", "unknown"), section.file.durations_s.get(section.name)
    return f"{begun}, {duration_s:,.0f} s" if duration_s is not None else f"{begun}"


def _drawn(section: Section, out: Path) -> Iterator[Path]:
    """Write a plot in each format, the same bytes every time."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": section.plot_name}):
        for format_name in FORMATS:
            path = out / f"{section.plot_name}.{format_name}"
            metadata = {"Date": None} if format_name == "svg" else {"Software": None}
            section.plot.savefig(path, dpi=100, metadata=metadata)
            yield path


def _counted(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"
