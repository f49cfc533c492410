//! The text format of Server-Sent Events, read from chunks that may end anywhere.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its name; empty if it has none.
    pub(crate) name: String,
    /// Its id, if it has one.
    pub(crate) id: Option<String>,
    /// Its data; lines are joined by line feeds.
    pub(crate) data: String,
}

/// Takes bytes and gives events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    rest: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl Parser {
    /// Takes the next bytes and gives the events that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        // Only new bytes can bring a line's end; what was kept before has none.
        let mut searched = self.rest.len();
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = self.rest[searched..].iter().position(|byte| *byte == b'\n') {
            let end = searched + length;
            let line = String::from_utf8_lossy(&self.rest[start..end]).into_owned();
            events.extend(self.line(line.strip_suffix('\r').unwrap_or(&line)));
            start = end + 1;
            searched = start;
        }
        self.rest.drain(..start);
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments (an empty name) keep the connection alive; other fields have no meaning here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_may_end_anywhere() {
        let text = ": alive\n\nevent: log\nid: 17\ndata: {\"a\":\ndata: 1}\n\nretry: 5\r\ndata: x\r\n\r\nevent: nothing\n\n";
        let expected = vec![
            Event { name: "log".to_owned(), id: Some("17".to_owned()), data: "{\"a\":\n1}".to_owned() },
            Event { name: String::new(), id: None, data: "x".to_owned() },
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<Event> = text.as_bytes().chunks(size).flat_map(|chunk| parser.push(chunk)).collect();
            assert_eq!(events, expected, "in chunks of {size}");
        }
    }
}
