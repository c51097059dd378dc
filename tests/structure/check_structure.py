#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house as tests. Usage: check_structure.py CHECK [SOURCE_DIR]; exit 0 kept, 1 broken, 77 skipped.

format      clang-format 14 would change nothing
includes    directions between modules (DESIGN section 3), one module per C library, all quoted includes exist
twins       every src/x/y.cpp has tests/x/y_test.cpp or tests/x/y_mpi_test.cpp
limits      files of at most 400 lines, functions of at most 70
spdx        the licence stands in line 1 (behind #!), and src/ says below it what the file owns
failpoints  every failpoint("...") in src/ stands in the table of base/failpoint.cpp
selftest    each check above finds what it is there to find
"""
import ast
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
CPP = {".h", ".cpp", ".cu"}
LEVEL_1 = {"ops", "comm", "storage"}
LEVEL_2 = {"exact", "model", "optim", "data", "balance", "checkpoint", "report"}
MAY_INCLUDE = {"base": set(), "tensor": {"base"}}
MAY_INCLUDE |= {module: {"base", "tensor"} for module in LEVEL_1}
MAY_INCLUDE |= {module: {"base", "tensor"} | LEVEL_1 for module in LEVEL_2}
MAY_INCLUDE["onnx"] = MAY_INCLUDE["model"] | {"model"}
MAY_INCLUDE["kernels"] = {"base", "tensor", "ops"}  # beside src/: the CUDA twins of ops
MAY_INCLUDE["train"] = set(MAY_INCLUDE) - {"kernels"}
MAY_INCLUDE[""] = set(MAY_INCLUDE) - {"kernels"}  # src/main.cpp
# Libraries that one module wraps: how their headers and their calls look, and who may use them.
WRAPPED = [
    ("MPI", re.compile(r"mpi\.h"), re.compile(r"\bP?MPI_[A-Z]\w*"), {"comm"}),
    ("HDF5", re.compile(r"hdf5\.h|H5\w*public\.h"), re.compile(r"\bH5[A-Z]{1,2}[a-z_]\w*\s*\("), {"storage"}),
    ("oneDNN", re.compile(r"(oneapi/)?dnnl.*"), re.compile(r"\bdnnl::"), {"ops"}),
    ("CUDA", re.compile(r"cuda\w*\.h|cublas\w*\.h|cudnn\w*\.h"), re.compile(r"\b(?:cuda|cublas|cudnn)[A-Z]\w*\s*\("),
     {"kernels"}),
    ("NCCL", re.compile(r"nccl.*"), re.compile(r"\bp?nccl[A-Z]\w*\s*\("), {"kernels"}),
    ("spdlog", re.compile(r"spdlog/.*"), re.compile(r"\bspdlog::"), {"base"}),
    ("ISA-L", re.compile(r"isa-l.*"), re.compile(r"\b(?:ec_encode_data|ec_init_tables|gf_\w+|crc32_iscsi)\s*\("), {"storage"}),
    ("xxHash", re.compile(r"xxh.*"), re.compile(r"\bXXH\w+\s*\("), {"base"}),
    ("ONNX's messages", re.compile(r"onnx/.*|google/protobuf/.*"), re.compile(r"\b\w+Proto\b"), {"onnx"}),
    ("toml++", re.compile(r"toml(\+\+|plusplus).*"), re.compile(r"\btoml::"), {"train"}),
    ("CLI11", re.compile(r"CLI/.*"), re.compile(r"\bCLI::"), {"train", ""}),
]


def files(root, *folders):
    """All text files of the project below these folders, sorted."""
    found = []
    for folder in folders:
        path = root / folder
        found += [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sorted(p for p in found if not {"__pycache__", "corpus"} & set(p.parts) and p.suffix != ".pyc")


def code_of(text):
    """C++ text with comments and the contents of strings blanked; lines and columns stay."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)

    def blank(match):
        piece = match.group(0)
        if piece[0] == "'" and match.start() > 0 and text[match.start() - 1].isalnum():
            return piece  # a digit separator, 1'000'000
        return re.sub(r"[^\n]", " ", piece)

    return pattern.sub(blank, text)


def clang_format():
    """The path of clang-format 14 (other versions format differently), or None."""
    for program in map(shutil.which, ("clang-format-14", "clang-format")):
        if program and " 14." in subprocess.run([program, "--version"], capture_output=True, text=True).stdout:
            return program
    return None


def check_format(root):
    program = clang_format()
    if program is None:
        print("SKIPPED: clang-format 14 is not installed (apt-get install clang-format-14)")
        sys.exit(77)
    sources = [str(p) for p in files(root, "src", "kernels", "tests") if p.suffix in CPP]
    result = subprocess.run([program, "--dry-run", "-Werror", *sources], capture_output=True, text=True)
    broken = sorted({line.split(":")[0] for line in result.stderr.splitlines() if "error:" in line})
    return [f"{path}: run {pathlib.Path(program).name} -i on it" for path in broken]


def check_includes(root):
    problems = []
    for path in files(root, "src", "kernels"):
        if path.suffix not in CPP:
            continue
        inside = path.relative_to(root).parts
        inside = inside[1:] if inside[0] == "src" else inside
        module = inside[0] if len(inside) > 1 else ""
        text = path.read_text()
        if module not in MAY_INCLUDE:
            problems.append(f"{path}: '{module}' is not a module of DESIGN section 3")
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+(["<])([^">]+)', line)
            if match:
                problems += include_problems(root, f"{path}:{number}", module, *match.groups())
        for name, _, calls, modules in WRAPPED:
            match = calls.search(code_of(text))
            if match and module not in modules:
                line = text.count("\n", 0, match.start()) + 1
                problems.append(f"{path}:{line}: {name} is called by {owners(modules)} only: {match.group(0)}")
    return problems


def owners(modules):
    return " and ".join(sorted(module if module == "kernels" else f"src/{module}".rstrip("/") for module in modules))


def include_problems(root, place, module, kind, header):
    if kind == "<":
        return [f"{place}: {name} is included by {owners(modules)} only"
                for name, headers, _, modules in WRAPPED if headers.fullmatch(header) and module not in modules]
    if not any((root / base / header).is_file() for base in (("src", ".") if module == "kernels" else ("src",))):
        return [f'{place}: "{header}" does not exist in src/ (quoted includes are relative to src/)']
    other = header.split("/")[0] if "/" in header else ""
    if other != module and other not in MAY_INCLUDE[module]:
        return [f"{place}: {module or 'main'} must not include {other} (DESIGN section 3)"]
    return []


def check_twins(root):
    problems = []
    for path in files(root, "src"):
        inside = path.relative_to(root / "src")
        if path.suffix != ".cpp" or len(inside.parts) < 2:
            continue
        twins = [root / "tests" / inside.parent / f"{inside.stem}{end}" for end in ("_test.cpp", "_mpi_test.cpp")]
        if not any(twin.is_file() for twin in twins):
            problems.append(f"{path}: {twins[0].relative_to(root)} is missing")
    return problems


def cpp_functions(text):
    """(first line, last line) of every outermost function body, with its signature: braces counted on code."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), code_of(text), flags=re.M)
    found, stack, head_at = [], [], 0
    for at, char in enumerate(code):
        in_function = "function" in stack
        if char == "{":
            head = code[head_at:at].strip()
            if in_function:
                stack.append("block")
            elif re.search(r"\)[\w\s]*:[^:{][^{]*[\w>]$|\}\s*,\s*\w+$", head):
                stack.append("initialiser")  # of a member, in a constructor: the head goes on
                continue
            elif re.match(r"(template\s*<.*>\s*)?(inline\s+)?(class|struct|union|enum|namespace|extern)\b", head, re.S):
                stack.append("scope")
            elif "(" in head and not head.endswith("="):
                stack.append("function")
                begin = code[:at].rstrip()
                start = head_at + len(code[head_at:at]) - len(code[head_at:at].lstrip())
                found.append([text.count("\n", 0, min(start, len(begin))) + 1, 0])
            else:
                stack.append("scope")
            head_at = at + 1
        elif char == "}" and stack:
            kind = stack.pop()
            if kind == "function":
                found[-1][1] = text.count("\n", 0, at) + 1
            if kind != "initialiser":
                head_at = at + 1
        elif char == ";" and not in_function:
            head_at = at + 1
    return found


def check_limits(root):
    problems = []
    for path in files(root, "src", "kernels", "tests", "tools", "jobs", "inputs", ".ci", "CMakeLists.txt"):
        if path.suffix in {".h5", ".safetensors", ".onnx"}:
            continue
        text = path.read_text()
        lines = len(text.splitlines())
        if lines > FILE_LINES_MAX:
            problems.append(f"{path}: {lines} lines, {FILE_LINES_MAX} allowed")
        if path.suffix in CPP:
            spans = cpp_functions(text)
        elif path.suffix == ".py" or text.startswith("#!/usr/bin/env python3") or text.startswith("#!/usr/bin/python3"):
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            spans = [(n.lineno, n.end_lineno) for n in ast.walk(ast.parse(text)) if isinstance(n, kinds)]
        else:
            spans = []
        problems += [f"{path}:{first}: a function of {last - first + 1} lines, {FUNCTION_LINES_MAX} allowed"
                     for first, last in spans if last - first + 1 > FUNCTION_LINES_MAX]
    return problems


def check_spdx(root):
    problems = []
    for path in files(root, "src", "kernels", "tests", "tools", "jobs", "inputs", ".ci", "CMakeLists.txt"):
        if path.suffix in {".md", ".json", ".h5", ".safetensors", ".onnx"}:
            continue
        lines = path.read_text().splitlines() + ["", ""]
        mark = "//" if path.suffix in CPP or path.suffix == ".c" else "#"
        at = 1 if lines[0].startswith("#!") else 0
        if lines[at] != f"{mark} SPDX-License-Identifier: Apache-2.0":
            problems.append(f"{path}:{at + 1}: '{mark} SPDX-License-Identifier: Apache-2.0' belongs here")
        elif path.suffix in CPP and not lines[1].startswith("// "):
            problems.append(f"{path}:2: what the file owns, in 1-10 lines, belongs here")
    return problems


def check_failpoints(root):
    table = re.search(r"known_points = \{(.*?)\}", (root / "src/base/failpoint.cpp").read_text(), re.S)
    known = set(re.findall(r'"([^"]+)"', table.group(1)))
    texts = {path: path.read_text() for path in files(root, "src") if path.suffix in CPP and path.parent.name != "base"}
    problems = [f'{path}: failpoint "{name}" is not in the table of src/base/failpoint.cpp'
                for path, text in texts.items()
                for name in re.findall(r'\bfailpoint\(\s*"([^"]+)"', text) if name not in known]
    calls = "\n".join(re.findall(r"\bfailpoint\([^;]*;", "\n".join(texts.values())))  # "unit", or prefix + ".write"
    return problems + [f'src/base/failpoint.cpp: the point "{name}" is passed nowhere' for name in sorted(known)
                       if f'"{name}"' not in calls and f'+ ".{name.rpartition(".")[2]}"' not in calls]


SPDX = "// SPDX-License-Identifier: Apache-2.0\n// A file of the self-test.\n"
LONG_FUNCTION = "int f(int x) {\n" + "  ++x;\n" * 70 + "  return x;\n}\n"
CONSTRUCTOR = "A::A(int b) : b_{b}, c_{f(1)} {\n" + "  ++b;\n" * 70 + "}\n"
SELFTEST = [  # check, file, text, what must be found ("" for nothing)
    ("includes", "src/ops/a.cpp", '#include "comm/a.h"\n', "ops must not include comm"),
    ("includes", "src/base/a.cpp", '#include "comm/a.h"\n', "base must not include comm"),
    ("includes", "src/model/a.cpp", '#include "optim/a.h"\n', "model must not include optim"),
    ("includes", "src/model/a.cpp", '#include "comm/a.h"\n', ""),
    ("includes", "src/train/a.cpp", '#include "optim/a.h"\n#include "base/a.h"\n', ""),
    ("includes", "src/train/a.cpp", '#include "a.h"\n', "does not exist"),
    ("includes", "src/train/a.cpp", "#include <mpi.h>\n", "MPI is included by"),
    ("includes", "src/comm/a.cpp", "#include <mpi.h>\nint a = MPI_Init(0, 0);\n", ""),
    ("includes", "src/data/a.cpp", "int a = H5Fopen(0);\n", "HDF5 is called by"),
    ("includes", "src/data/a.cpp", '// H5Fopen( MPI_Init\nconst char* s = "MPI_Init";\n', ""),
    ("includes", "src/other/a.cpp", "", "is not a module"),
    ("includes", "kernels/a.cu", '#include "comm/a.h"\n', "kernels must not include comm"),
    ("includes", "kernels/a.cu", '#include "base/a.h"\n#include <cuda_runtime.h>\n', ""),
    ("includes", "src/ops/a.cpp", "int a = cudaMalloc(0, 0);\n", "CUDA is called by kernels only"),
    ("twins", "src/ops/a.cpp", "", "tests/ops/a_test.cpp is missing"),
    ("limits", "src/ops/a.cpp", "\n" * 400, "402 lines"),
    ("limits", "src/ops/a.cpp", LONG_FUNCTION, "3: a function of 73 lines"),
    ("limits", "src/ops/a.cpp", "class A {\n" + LONG_FUNCTION + "};\n", "4: a function of 73 lines"),
    ("limits", "src/ops/a.cpp", CONSTRUCTOR, "a function of 72 lines"),
    ("limits", "src/ops/a.cpp", "int f() {\n}\n" * 80 + 'const char* s = "{";\n', ""),
    ("limits", "src/ops/a.h", "namespace a {\n" + "int f();\n" * 90 + "}\n", ""),
    ("spdx", "src/ops/a.sh", "", "belongs here"),
    ("spdx", "src/ops/a.cpp", "", ""),
    ("failpoints", "src/ops/a.cpp", 'failpoint("nowhere");\n', '"nowhere" is not in the table'),
    ("failpoints", "src/ops/a.cpp", 'failpoint("unit");\nfailpoint(prefix + ".write");\n', ""),
    ("failpoints", "src/ops/a.cpp", 'failpoint("unit");\n', '"a.write" is passed nowhere'),
    ("format", "src/ops/a.cpp", "int   f( ) ;\n", "run clang-format"),
]


def check_selftest(root):
    problems = []
    for check, name, text, expected in SELFTEST:
        if check == "format" and clang_format() is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            tree = pathlib.Path(folder)
            fixed = {f"src/{m}/a.h": SPDX for m in ("base", "comm", "optim")}
            fixed["src/base/failpoint.cpp"] = SPDX + 'known_points = {"unit", "a.write"};\n'
            fixed["tests/base/failpoint_test.cpp"] = SPDX
            for other, content in {**fixed, name: SPDX + text}.items():
                (tree / other).parent.mkdir(parents=True, exist_ok=True)
                (tree / other).write_text(content)
            shutil.copy(root / ".clang-format", tree)
            found = CHECKS[check](tree)
        if (expected == "" and found) or (expected and not any(expected in problem for problem in found)):
            problems.append(f"{check} on {text[:60]!r} in {name}: found {found}, expected {expected!r}")
    return problems


CHECKS = {"format": check_format, "includes": check_includes, "twins": check_twins, "limits": check_limits,
          "spdx": check_spdx, "failpoints": check_failpoints, "selftest": check_selftest}


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in CHECKS:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else pathlib.Path(__file__).parents[2]).resolve()
    problems = CHECKS[sys.argv[1]](root)
    for problem in problems:
        print(problem.replace(f"{root}/", ""))
    print(f"{sys.argv[1]}: {len(problems)} broken" if problems else f"{sys.argv[1]}: kept")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
