//! How single fields of a result are read.

use std::fmt;
use std::marker::PhantomData;

use legwork_core::limits;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The value of `exitCode`. What does not fit into 64 bits is not zero, which is all that counts.
pub(super) struct ExitCode(pub(super) i64);

impl<'de> Deserialize<'de> for ExitCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = ExitCode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number as exitCode")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<ExitCode, E> {
                Ok(ExitCode(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<ExitCode, E> {
                Ok(ExitCode(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<ExitCode, E> {
                if number.fract() == 0.0 {
                    Ok(ExitCode(number as i64))
                } else {
                    Err(E::invalid_type(serde::de::Unexpected::Float(number), &self))
                }
            }

            fn visit_unit<E: Error>(self) -> Result<ExitCode, E> {
                Ok(ExitCode(0))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// The value of `jobErrorMessage`. A plugin may put anything there; only what reads as text is worth keeping.
pub(super) struct Message(pub(super) String);

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Message;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text as jobErrorMessage")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Message, E> {
                Ok(Message(text[..text.floor_char_boundary(limits::MESSAGE_BYTES)].to_owned()))
            }

            fn visit_unit<E: Error>(self) -> Result<Message, E> {
                Ok(Message(String::new()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Message, E> {
                Ok(Message(value.to_string()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Message, E> {
                Ok(Message(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Message, E> {
                Ok(Message(value.to_string()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Message, E> {
                Ok(Message(value.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Message, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Message("(the plugin's message is a list, not a text)".to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Message, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Message("(the plugin's message is an object, not a text)".to_owned()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A value that is only checked to be an object or an array, and not kept.
pub(super) struct Skipped<T>(PhantomData<T>);

pub(super) struct IsObject;
pub(super) struct IsArray;

impl<'de> Deserialize<'de> for Skipped<IsObject> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Skipped<IsObject>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Skipped(PhantomData))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Skipped<IsArray> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Skipped<IsArray>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Skipped(PhantomData))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}
