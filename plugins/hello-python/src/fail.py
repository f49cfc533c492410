from digitalai.release.integration import BaseTask


class Fail(BaseTask):
    """Fails, after it has set an output."""

    def execute(self) -> None:
        self.set_status_line("About to fail")
        self.set_output_property("reached", "the middle")
        raise RuntimeError(self.input_properties.get("reason") or "This task fails on purpose.")
