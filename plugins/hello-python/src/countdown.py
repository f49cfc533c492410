import time

from digitalai.release.integration import BaseTask


class Countdown(BaseTask):
    """Counts down one second at a time, so that the log, the status line and comments can be watched live."""

    def execute(self) -> None:
        seconds = int(self.input_properties.get("seconds") or 0)
        self.set_output_property("counted", 0)
        for counted in range(seconds):
            left = seconds - counted
            self.set_status_line(f"{left} s to go")
            print(f"{left} …", flush=True)
            if counted == seconds // 2:
                self.add_comment(f"Half time: {left} of {seconds} s to go")
            time.sleep(1)
            self.set_output_property("counted", counted + 1)
        self.set_status_line("Lift-off")
        self.add_comment(f"Counted {seconds} s")
