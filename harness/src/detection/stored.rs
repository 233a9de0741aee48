//! The table that an earlier run has left: whether it is one, so that a view need not look.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Ending, FILE, Killers, SCHEMA, Seen};

/// What a view needs of a table; of its faults only what is no text.
#[derive(Deserialize)]
struct Needed {
    #[serde(rename = "interrupted")]
    _interrupted: bool,
    #[serde(rename = "problems")]
    _problems: Vec<String>,
    #[serde(rename = "unkilled", default)]
    _unkilled: Option<Vec<String>>,
    #[serde(rename = "killers")]
    _killers: Killers,
    #[serde(rename = "rows")]
    _rows: Vec<NeededRow>,
}

#[derive(Deserialize)]
struct NeededRow {
    #[serde(rename = "ending")]
    _ending: Ending,
    #[serde(rename = "cases")]
    _cases: Vec<Seen>,
}

/// The table in `folder`, if there is one; or why it can't be shown.
///
/// # Errors
/// The file can't be read, is no table, or one of another version.
pub fn stored_in(folder: &Path) -> Option<Result<Value, String>> {
    let path = folder.join(FILE);
    let said = |why: String| format!("{}: {why}", path.display());
    match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(Err(said(error.to_string()))),
        Ok(text) => Some(stored(&text).map_err(said)),
    }
}

/// The table that is `text`.
///
/// # Errors
/// It is none, or one of another version.
pub fn stored(text: &[u8]) -> Result<Value, String> {
    let table: Value = serde_json::from_slice(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let schema = &table["schema"];
    if *schema != SCHEMA {
        return Err(format!("its schema is {schema}, and {SCHEMA} is known here; `handover faults` makes it anew"));
    }
    Needed::deserialize(&table).map_err(|error| format!("it is no table of faults: {error}"))?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CONTROL, run};
    use super::super::{Row, Table, Trial};
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn a_table_is_what_it_was() {
        let trial = Trial { fired: 1, runs: vec![run(Verdict::Fail, "x")], ..Trial::default() };
        let table = Table::of(vec![Row::of(&CONTROL, &[trial])], vec![], 7, false);
        let text = serde_json::to_vec(&table).unwrap();
        assert_eq!(stored(&text).unwrap()["rows"][0]["name"], "passes-through");
    }

    #[test]
    fn what_is_no_table_says_why() {
        let why = |text: &str| stored(text.as_bytes()).unwrap_err();
        assert!(why("{").starts_with("it is no JSON"), "{}", why("{"));
        assert!(why(r#"{"schema":99}"#).starts_with("its schema is 99, and 2 is known here"));
        assert!(why("[]").starts_with("its schema is null"));
        let table = serde_json::to_value(Table::of(vec![], vec![], 7, false)).unwrap();
        for (field, value) in [("rows", "x".into()), ("rows", vec![1].into()), ("problems", Value::Null)] {
            let mut table = table.clone();
            table[field] = value;
            assert!(why(&table.to_string()).starts_with("it is no table of faults"), "{table}");
        }
    }

    #[test]
    fn where_there_is_none_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(stored_in(folder.path()).is_none());
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(stored_in(folder.path()).unwrap().unwrap_err().contains(FILE));
    }
}
