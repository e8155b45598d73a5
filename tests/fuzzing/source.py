"""What a look at the source tells: which functions open files, and what could unpickle."""

from __future__ import annotations

import ast

OPENS = {
    "open", "read_text", "read_bytes", "readinto", "open_memmap", "memmap", "fromfile", "loadtxt",
    "genfromtxt", "ParquetFile", "read_table", "ZipFile", "GzipFile", "safe_open", "load_file",
    "urlopen", "FileIO", "fdopen", "read_csv", "np.load", "numpy.load", "safetensors.torch.load",
    "safetensors.numpy.load",
}  # fmt: skip
"""What opens a file, by its last name; by its whole name where others are called alike."""

MODULES = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml",
    "copyreg", "runpy", "code", "jsonpickle", "pandas",
}  # fmt: skip
CALLS = {
    "eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.package",
    "torch.hub.load", "torch.export.load", "read_pickle", "all_gather_object", "gather_object",
    "broadcast_object_list", "scatter_object_list", "recv_object_list", "send_object_list",
    "exec_module", "load_module",
}  # fmt: skip
NEED_FALSE = {"np.load", "numpy.load", "read_array", "open_memmap", "np.save", "numpy.save"}


def names_of(call: ast.Call) -> set[str]:
    """Whole name and last name of what is called; a plain name only where it is one."""
    whole = ast.unparse(call.func)
    return {whole, whole.rsplit(".", 1)[-1]} if "." in whole else {whole}


def openers(tree: ast.AST, inside: str) -> set[str]:
    """The functions that open files."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found |= openers(node, f"{inside}.{node.name}")
        else:
            if isinstance(node, ast.Call) and names_of(node) & OPENS:
                found.add(inside)
            found |= openers(node, inside)
    return found


def dangers(tree: ast.AST) -> list[str]:
    """Whatever could unpickle, or run what a file holds."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found += [n for n in (str(node.module), *whole) if n.partition(".")[0] in MODULES]
            found += sorted(whole & CALLS)
        elif isinstance(node, ast.Call):
            whole, names = ast.unparse(node.func), names_of(node)
            # re.compile and model.eval() are others than the functions of that name
            found += sorted(n for n in names & CALLS if n == whole or "_" in n)
            off = [k.value for k in node.keywords if k.arg == "allow_pickle"]
            if any(not (isinstance(v, ast.Constant) and v.value is False) for v in off) or (
                names & NEED_FALSE and not off
            ):
                found.append(f"{whole} without allow_pickle=False")
    return found
