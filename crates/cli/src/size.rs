//! Sizes as people write them: `512MiB`, `64KiB`, `1.5GiB`, `100MB`, `4096`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

const UNITS: [(&str, u64); 7] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000), ("B", 1)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || format!("{text:?} is no size: write a number of bytes, or one with KiB, MiB, GiB, KB, MB or GB");
        let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || (number.contains('.') && (!digits(fraction) || fraction.len() > 9)) {
            return Err(invalid());
        }
        let whole: u64 = whole.parse().map_err(|_| invalid())?;
        let part = if fraction.is_empty() {
            0
        } else {
            let tenths: u64 = fraction.parse().map_err(|_| invalid())?;
            tenths.checked_mul(unit).ok_or_else(invalid)? / 10_u64.pow(fraction.len() as u32)
        };
        whole.checked_mul(unit).and_then(|bytes| bytes.checked_add(part)).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit) in &UNITS[..3] {
            if self.0 >= *unit {
                return if self.0.is_multiple_of(*unit) {
                    write!(f, "{} {name}", self.0 / unit)
                } else {
                    write!(f, "{:.1} {name}", self.0 as f64 / *unit as f64)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("512MiB", 512 << 20, "512 MiB"),
            ("1.5GiB", 3 << 29, "1.5 GiB"),
            ("64KiB", 65_536, "64 KiB"),
            ("100MB", 100_000_000, "95.4 MiB"),
            ("17B", 17, "17 B"),
            ("4096", 4096, "4 KiB"),
            ("0", 0, "0 B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size, ByteSize(bytes), "{text}");
            assert_eq!(size.to_string(), shown);
        }
        for wrong in ["", "MiB", "-1", "1 MiB", "1.MiB", ".5MiB", "12mb", "1e3", "99999999999GiB", "0x10"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
