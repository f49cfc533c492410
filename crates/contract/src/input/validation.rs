//! Whether a user's input can be given to a plugin at all. Every message names the property.

use std::collections::HashSet;

use legwork_core::limits;
use legwork_core::spec::{Input, InputProperty};
use serde_json::{Map, Value};

use super::Length;

/// The kinds of the contract (§2.2).
pub const KINDS: [&str; 11] = [
    "STRING",
    "INTEGER",
    "BOOLEAN",
    "DATE",
    "ENUM",
    "LIST_OF_STRING",
    "SET_OF_STRING",
    "MAP_STRING_STRING",
    "CI",
    "LIST_OF_CI",
    "SET_OF_CI",
];
/// How deep objects may be nested in objects.
const MAX_NESTING: usize = 16;

/// Why an input cannot be given to a plugin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The task's type has no class name.
    #[error("the task type \"{task_type}\" has no dot; write it as <prefix>.<Name>")]
    TaskType {
        /// The type.
        task_type: String,
    },
    /// A name that cannot be one.
    #[error("{property}: the name {problem}")]
    Name {
        /// Which property, by name or position.
        property: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Two properties of one name: Python would see only the last one.
    #[error("input property \"{property}\" is there twice; give it once")]
    Duplicate {
        /// The name.
        property: String,
    },
    /// A kind that the contract does not know.
    #[error("input property \"{property}\": the kind \"{kind}\" is unknown; use one of {}", KINDS.join(", "))]
    Kind {
        /// The name.
        property: String,
        /// The kind.
        kind: String,
    },
    /// A value that is not of its property's kind, or a nested object that lacks something.
    #[error("input property \"{property}\": {problem}")]
    Value {
        /// The name, with the properties around it: `server.password`.
        property: String,
        /// What is wrong with it; never the value.
        problem: String,
    },
    /// Too many properties.
    #[error("the input has {count} properties; at most {} are possible", limits::PROPERTIES)]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Too many bytes.
    #[error("the input has {bytes} bytes as JSON; at most {} are possible", limits::INPUT_BYTES)]
    TooLarge {
        /// How many.
        bytes: u64,
    },
}

/// Checks a task's type: Python takes the name of the class from behind the first dot.
pub fn validate_task_type(task_type: &str) -> Result<(), InputError> {
    let mut parts = task_type.split('.');
    let well_formed = parts.next().is_some_and(|prefix| !prefix.is_empty())
        && parts.next().is_some_and(|name| !name.is_empty())
        && !task_type.chars().any(|c| c.is_control() || c.is_whitespace());
    if well_formed { Ok(()) } else { Err(InputError::TaskType { task_type: task_type.to_owned() }) }
}

/// Checks an input.
pub fn validate_input(input: &Input) -> Result<(), InputError> {
    let count = input.properties.len();
    if count > limits::PROPERTIES {
        return Err(InputError::TooMany { count });
    }
    let mut names = HashSet::new();
    for (index, property) in input.properties.iter().enumerate() {
        validate_name(&property.name, &format!("input property {}", index + 1))?;
        if !names.insert(property.name.as_str()) {
            return Err(InputError::Duplicate { property: property.name.clone() });
        }
        let InputProperty { name, value, kind, .. } = property;
        validate_value(name, value, kind, 0)?;
    }
    let mut length = Length(0);
    if serde_json::to_writer(&mut length, input).is_err() || length.0 > limits::INPUT_BYTES {
        return Err(InputError::TooLarge { bytes: length.0 });
    }
    Ok(())
}

fn validate_name(name: &str, property: &str) -> Result<(), InputError> {
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > limits::PROPERTY_NAME_LENGTH {
        format!("has {} bytes; at most {} are possible", name.len(), limits::PROPERTY_NAME_LENGTH)
    } else if name.chars().any(char::is_control) {
        "has a control character".to_owned()
    } else {
        return Ok(());
    };
    Err(InputError::Name { property: property.to_owned(), problem })
}

/// Checks the outer form of a value. What is inside lists and maps is passed on as it is: public plugins rely on it.
fn validate_value(path: &str, value: &Value, kind: &str, nesting: usize) -> Result<(), InputError> {
    let (fits, wanted) = match kind {
        "STRING" | "DATE" | "ENUM" => (value.is_string(), "a text"),
        "INTEGER" => (value.is_number(), "a number"),
        "BOOLEAN" => (value.is_boolean(), "true, false"),
        "LIST_OF_STRING" | "SET_OF_STRING" => (value.is_array(), "a list"),
        "MAP_STRING_STRING" => (value.is_object(), "an object"),
        "CI" => (value.is_object(), "an object with \"type\" and \"properties\""),
        "LIST_OF_CI" | "SET_OF_CI" => {
            let objects = value.as_array().is_some_and(|items| items.iter().all(Value::is_object));
            (objects, "a list of objects with \"type\" and \"properties\"")
        }
        _ => return Err(InputError::Kind { property: path.to_owned(), kind: kind.to_owned() }),
    };
    if !fits && !value.is_null() {
        let problem = format!("{kind} must be {wanted} or null");
        return Err(InputError::Value { property: path.to_owned(), problem });
    }
    match value {
        Value::Object(object) if kind == "CI" => validate_object(path, object, nesting),
        Value::Array(items) if kind.ends_with("_OF_CI") => {
            let mut objects = items.iter().filter_map(Value::as_object).enumerate();
            objects.try_for_each(|(index, object)| validate_object(&format!("{path}[{index}]"), object, nesting))
        }
        _ => Ok(()),
    }
}

/// Checks a nested object: Python wants all five fields of each of its properties.
fn validate_object(path: &str, object: &Map<String, Value>, nesting: usize) -> Result<(), InputError> {
    let wrong = |path: &str, problem: String| Err(InputError::Value { property: path.to_owned(), problem });
    if nesting == MAX_NESTING {
        return wrong(path, format!("objects are nested deeper than {MAX_NESTING}"));
    }
    if !matches!(object.get("id"), None | Some(Value::Null | Value::String(_))) {
        return wrong(path, "\"id\" must be a text or null".to_owned());
    }
    if !object.get("type").is_some_and(Value::is_string) {
        return wrong(path, "the object has no text \"type\"".to_owned());
    }
    let Some(Value::Array(properties)) = object.get("properties") else {
        return wrong(path, "the object has no list \"properties\"".to_owned());
    };
    let mut names = HashSet::new();
    for (index, property) in properties.iter().enumerate() {
        let field = |name: &str| property.get(name);
        let position = format!("{path}.properties[{index}]");
        let Some(name) = field("name").and_then(Value::as_str) else {
            return wrong(&position, "it has no text \"name\"".to_owned());
        };
        validate_name(name, &position)?;
        let path = format!("{path}.{name}");
        if !names.insert(name) {
            return Err(InputError::Duplicate { property: path });
        }
        let (Some(kind), Some(_), Some(_), Some(value)) = (
            field("kind").and_then(Value::as_str),
            field("category").and_then(Value::as_str),
            field("password").and_then(Value::as_bool),
            field("value"),
        ) else {
            let problem = "it needs \"value\" and the texts \"kind\" and \"category\" and \"password\": true or false";
            return wrong(&path, problem.to_owned());
        };
        validate_value(&path, value, kind, nesting + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(name: &str, kind: &str, value: Value) -> Result<(), String> {
        let property = InputProperty { name: name.to_owned(), value, kind: kind.to_owned(), password: true };
        validate_input(&Input { properties: vec![property] }).map_err(|error| error.to_string())
    }

    fn object(property: &Value) -> Value {
        json!({"id": null, "type": "a.B", "properties": [property]})
    }

    #[test]
    fn what_kind_of_finds_is_accepted() {
        let nested = object(&json!({"name": "n", "value": 1, "kind": "INTEGER", "category": "input", "password": false}));
        for value in [json!(null), json!("x"), json!(1.5), json!(true), json!(["a", 1]), json!({"a": "b"}), nested] {
            assert_eq!(check("p", InputProperty::kind_of(&value), value), Ok(()));
        }
        assert_eq!(check("p", "DATE", json!("2026-11-23T10:00:00Z")), Ok(()));
        assert_eq!(check("p", "LIST_OF_CI", json!([{"type": "a.B", "properties": []}])), Ok(()));
    }

    #[test]
    fn each_error_names_the_property_and_never_its_value() {
        let complete = json!({"name": "n", "value": "hidden", "kind": "INTEGER", "category": "input", "password": false});
        let missing = json!({"name": "n", "value": "hidden", "kind": "STRING", "category": "input"});
        for (kind, value, part) in [
            ("string", json!("hidden"), "\"p\": the kind \"string\""),
            ("STRING", json!(["hidden"]), "\"p\": STRING must be a text"),
            ("CI", json!("hidden"), "\"p\": CI must be an object"),
            ("CI", json!({"properties": []}), "no text \"type\""),
            ("CI", json!({"type": "a.B"}), "no list \"properties\""),
            ("CI", object(&complete), "\"p.n\": INTEGER must be a number"),
            ("CI", object(&missing), "\"p.n\": it needs"),
            ("CI", object(&json!({"value": "hidden"})), "\"p.properties[0]\": it has no text \"name\""),
            ("SET_OF_CI", json!([object(&missing)]), "\"p[0].n\": it needs"),
            ("LIST_OF_CI", json!(["hidden"]), "\"p\": LIST_OF_CI must be a list of objects"),
        ] {
            let error = check("p", kind, value).unwrap_err();
            assert!(error.contains(part) && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn names() {
        assert!(check("", "STRING", json!("x")).unwrap_err().contains("input property 1: the name is empty"));
        assert!(check("a\nb", "STRING", json!("x")).unwrap_err().contains("control character"));
        assert!(check(&"n".repeat(257), "STRING", json!("x")).unwrap_err().contains("257 bytes"));
        let property = InputProperty { name: "n".to_owned(), value: json!(1), kind: "INTEGER".to_owned(), password: false };
        let twice = Input { properties: vec![property.clone(), property] };
        assert_eq!(validate_input(&twice), Err(InputError::Duplicate { property: "n".to_owned() }));
    }

    #[test]
    fn numbers_and_sizes() {
        let property =
            |index| InputProperty { name: format!("n{index}"), value: json!(1), kind: "INTEGER".to_owned(), password: false };
        let many = |count| Input { properties: (0..count).map(property).collect() };
        assert_eq!(validate_input(&many(limits::PROPERTIES)), Ok(()));
        assert!(matches!(validate_input(&many(limits::PROPERTIES + 1)), Err(InputError::TooMany { count: 1_001 })));
        assert!(check("p", "STRING", json!("x".repeat(65 << 20))).unwrap_err().contains("as JSON"));
    }

    #[test]
    fn nesting_is_bounded() {
        let mut value = object(&json!({"name": "n", "value": null, "kind": "CI", "category": "input", "password": false}));
        for _ in 0..MAX_NESTING {
            value = object(&json!({"name": "n", "value": value, "kind": "CI", "category": "input", "password": false}));
        }
        assert!(check("p", "CI", value).unwrap_err().contains("nested deeper"));
    }

    #[test]
    fn task_types_need_a_class_name() {
        for good in ["a.B", "long-prefix.Hello", "a.Hello.B"] {
            assert_eq!(validate_task_type(good), Ok(()));
        }
        for bad in ["", "Hello", "a.", ".B", "a..B", "a.B c"] {
            assert!(validate_task_type(bad).is_err(), "{bad}");
        }
    }
}
