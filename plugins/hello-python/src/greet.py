from digitalai.release.integration import BaseTask, dai_logger


class Greet(BaseTask):
    """Greets somebody, and prints its secret in two ways: the SDK masks the first and not the second."""

    def execute(self) -> None:
        name = self.input_properties.get("yourName")
        if not name:
            raise ValueError("The input 'yourName' is empty: give a name to greet")
        self.set_status_line(f"Greeting {name}")
        token = self.input_properties.get("apiToken")
        if token:
            print(f"Printed token: {token}")
            dai_logger.info(f"Logged token: {token}")
        greeting = f"Hello {name}"
        print(greeting)
        self.add_comment(f"Said: {greeting}")
        self.set_output_property("greeting", greeting)
        self.set_status_line("Done")
