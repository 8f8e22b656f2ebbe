//! The modifiers behind a field's name, and which of them go together.

/// How a value must lie in the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Anything may stand before it.
    pub(super) before: bool,
    /// Anything may stand behind it.
    pub(super) behind: bool,
}

impl Place {
    /// Nothing but the value.
    pub(super) const WHOLE: Self = Self { before: false, behind: false };
    /// Anywhere.
    pub(super) const WITHIN: Self = Self { before: true, behind: true };
}

/// A comparison of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Compare {
    /// Returns the sign for it.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// A part of a date that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// A step that turns a value into other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf16Le,
    Utf16Be,
    /// Little endian behind a byte order mark.
    Utf16,
    Base64,
    Base64Offset,
}

/// What a value is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// Text with wildcards.
    #[default]
    Text,
    /// A regular expression with these flags.
    Regex(Vec<char>),
    /// A block of addresses.
    Cidr,
    /// Whether the field is there.
    Exists,
    /// A number to compare with.
    Number(Compare),
    /// The name of another field.
    FieldRef,
}

/// All modifiers of one field.
#[derive(Clone, Debug, Default)]
pub(super) struct Modifiers {
    pub(super) form: Form,
    pub(super) place: Place,
    pub(super) encodings: Vec<Encoding>,
    pub(super) all: bool,
    pub(super) cased: bool,
    pub(super) negated: bool,
    pub(super) windash: bool,
    pub(super) expand: bool,
    pub(super) time: Option<TimePart>,
}

/// All names, for messages.
const NAMES: &str = "contains, startswith, endswith, all, cased, exists, neq, windash, re (with i, \
    m, s), base64, base64offset, utf16, utf16le, utf16be, wide, lt, lte, gt, gte, minute, hour, \
    day, week, month, year, cidr, expand, fieldref";

impl Modifiers {
    /// Reads the modifiers, in their order.
    pub(super) fn parse<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut modifiers = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for name in names {
            if seen.contains(&name) {
                return Err(format!("modifier `{name}` is given twice"));
            }
            seen.push(name);
            modifiers.add(name)?;
        }
        modifiers.check()?;
        Ok(modifiers)
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        match name {
            "contains" => self.place(Place::WITHIN),
            "startswith" => self.place(Place { before: false, behind: true }),
            "endswith" => self.place(Place { before: true, behind: false }),
            "all" => {
                self.all = true;
                Ok(())
            }
            "cased" => {
                self.cased = true;
                Ok(())
            }
            "neq" => {
                self.negated = true;
                Ok(())
            }
            "windash" => {
                self.windash = true;
                Ok(())
            }
            "expand" => {
                self.expand = true;
                Ok(())
            }
            "re" => self.form(name, Form::Regex(Vec::new())),
            "i" | "m" | "s" => match &mut self.form {
                Form::Regex(flags) => {
                    flags.extend(name.chars());
                    Ok(())
                }
                _ => Err(format!("modifier `{name}` must stand behind `re`")),
            },
            "exists" => self.form(name, Form::Exists),
            "cidr" => self.form(name, Form::Cidr),
            "fieldref" => self.form(name, Form::FieldRef),
            "lt" => self.form(name, Form::Number(Compare::Less)),
            "lte" => self.form(name, Form::Number(Compare::LessOrEqual)),
            "gt" => self.form(name, Form::Number(Compare::Greater)),
            "gte" => self.form(name, Form::Number(Compare::GreaterOrEqual)),
            "minute" => self.time(TimePart::Minute),
            "hour" => self.time(TimePart::Hour),
            "day" => self.time(TimePart::Day),
            "week" => self.time(TimePart::Week),
            "month" => self.time(TimePart::Month),
            "year" => self.time(TimePart::Year),
            "utf16le" | "wide" => self.encoding(Encoding::Utf16Le),
            "utf16be" => self.encoding(Encoding::Utf16Be),
            "utf16" => self.encoding(Encoding::Utf16),
            "base64" => self.encoding(Encoding::Base64),
            "base64offset" => self.encoding(Encoding::Base64Offset),
            other => Err(format!("there is no modifier `{other}`; Sigma's modifiers are {NAMES}")),
        }
    }

    fn place(&mut self, place: Place) -> Result<(), String> {
        if self.place != Place::WHOLE {
            return Err("only one of contains, startswith and endswith can hold".to_owned());
        }
        self.place = place;
        Ok(())
    }

    fn form(&mut self, name: &str, form: Form) -> Result<(), String> {
        if self.form != Form::Text {
            return Err(format!("`{name}` contradicts the modifier before it; keep one of them"));
        }
        self.form = form;
        Ok(())
    }

    fn time(&mut self, part: TimePart) -> Result<(), String> {
        if self.time.is_some() {
            return Err("only one part of a date can be taken".to_owned());
        }
        self.time = Some(part);
        Ok(())
    }

    fn encoding(&mut self, encoding: Encoding) -> Result<(), String> {
        if matches!(self.encodings.last(), Some(Encoding::Base64 | Encoding::Base64Offset)) {
            return Err("base64 must be the last encoding".to_owned());
        }
        if !self.encodings.is_empty()
            && !matches!(encoding, Encoding::Base64 | Encoding::Base64Offset)
        {
            return Err("text has one UTF-16 encoding, not two".to_owned());
        }
        self.encodings.push(encoding);
        Ok(())
    }

    /// Refuses what has no meaning together.
    fn check(&self) -> Result<(), String> {
        let plain = matches!(self.form, Form::Text);
        let placed = self.place != Place::WHOLE;
        let refused = [
            (
                placed && !matches!(self.form, Form::Text | Form::FieldRef | Form::Regex(_)),
                "contains, startswith and endswith are for text",
            ),
            (
                self.cased && !matches!(self.form, Form::Text | Form::FieldRef),
                "`cased` has no meaning beside `re`, numbers, addresses or `exists`",
            ),
            (!self.encodings.is_empty() && !plain, "only text can be encoded"),
            (
                self.windash && (!plain || !self.encodings.is_empty()),
                "`windash` is for text that is not encoded",
            ),
            (
                self.expand && !matches!(self.form, Form::Text | Form::Cidr),
                "`expand` is for text and `cidr`",
            ),
            (
                self.time.is_some() && !matches!(self.form, Form::Text | Form::Number(_)),
                "a part of a date is a number; it goes with lt, lte, gt, gte and neq",
            ),
            (
                self.time.is_some()
                    && (placed
                        || self.windash
                        || self.expand
                        || self.cased
                        || !self.encodings.is_empty()),
                "a part of a date is a number, not text",
            ),
            (self.all && matches!(self.form, Form::Exists), "`all` has no meaning beside `exists`"),
        ];
        match refused.iter().find(|(wrong, _)| *wrong) {
            Some((_, message)) => Err((*message).to_owned()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Modifiers, String> {
        Modifiers::parse(text.split('|').filter(|name| !name.is_empty()))
    }

    #[test]
    fn modifiers_combine_as_specified() {
        let modifiers = parse("wide|base64offset|contains|all").unwrap();
        assert_eq!(modifiers.encodings, [Encoding::Utf16Le, Encoding::Base64Offset]);
        assert!(modifiers.all && modifiers.place == Place::WITHIN);
        assert_eq!(parse("re|i|s").unwrap().form, Form::Regex(vec!['i', 's']));
        assert!(parse("fieldref|endswith|neq").unwrap().negated);
        assert_eq!(parse("hour|gte").unwrap().time, Some(TimePart::Hour));
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for text in [
            "i",
            "re|lt",
            "contains|startswith",
            "cidr|contains",
            "re|cased",
            "base64|wide",
            "windash|base64",
            "exists|all",
            "hour|contains",
            "hour|day",
            "regex",
            "all|all",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
