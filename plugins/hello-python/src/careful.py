import os
import tempfile
import time

from digitalai.release.integration import AbortException, BaseTask


class Careful(BaseTask):
    """Holds a lock file, and gives it back when it is aborted."""

    def execute(self) -> None:
        seconds = int(self.input_properties.get("seconds") or 0)
        self.set_output_property("cleanedUp", False)
        handle, lock = tempfile.mkstemp(prefix="careful-")
        os.close(handle)
        try:
            self.set_status_line("Working, holding the lock")
            print("Took the lock", flush=True)
            time.sleep(seconds)
        except AbortException:
            self.set_status_line("Aborted, cleaning up")
            raise
        finally:
            os.remove(lock)
            self.set_output_property("cleanedUp", True)
            self.add_comment("Gave the lock back")

    def abort(self) -> None:
        # This runs inside the signal handler, between any two steps of `execute`: it only raises, and `execute`
        # cleans up where it knows what it holds.
        raise AbortException()
