//! Which files does a case leave? Images for every reader that disagreed, and what the case itself saves.

use std::path::PathBuf;

use super::Cx;
use crate::error::{Error, Result};
use crate::picture::Picture;
use crate::png;

impl Cx {
    /// Saves target, actual and their difference among the case's artifacts.
    pub(super) fn save(&self, reader: &str, target: &Picture, actual: &Picture) -> Result<()> {
        png::save_difference(target, actual, &self.folder_for(reader)?).map(drop)
    }

    /// Saves `text` among the case's artifacts as `name`.
    ///
    /// # Errors
    /// The directory can't be written.
    pub fn save_text(&self, name: &str, text: &str) -> Result<()> {
        let path = self.case.artifacts.join(name);
        std::fs::create_dir_all(&self.case.artifacts)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| Error::new("writing an artifact", path.display().to_string(), error))
    }

    /// The folder for the images of `reader`.
    pub(super) fn folder_for(&self, reader: &str) -> Result<PathBuf> {
        let words: Vec<&str> =
            reader.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let folder = self.case.artifacts.join(words.join("_"));
        std::fs::create_dir_all(&folder)
            .map_err(|error| Error::new("creating the directory for images", folder.display().to_string(), error))?;
        Ok(folder)
    }
}
