from digitalai.release.integration import BaseTask

BLOCK = 1024
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+"


class Big(BaseTask):
    """Returns `size` bytes: the same ones as `legwork_testbed::data(size)`, so that one test can check both."""

    def execute(self) -> None:
        size = int(self.input_properties.get("size") or 0)
        self.set_status_line(f"Making {size} bytes")
        self.set_output_property("data", data(size))


def data(size: int) -> str:
    """Blocks of 1024 characters: the number of the block in 15 hexadecimal digits, a hyphen, and filling."""
    filling = (LETTERS * (BLOCK // len(LETTERS)))[: BLOCK - 16]
    blocks = (f"{number:015x}-{filling}" for number in range((size + BLOCK - 1) // BLOCK))
    return "".join(blocks)[:size]
