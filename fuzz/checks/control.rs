//! JSON of the control socket and of REST, and of rows: inputs of operations, answers, the input of jobs.

use dryport::app::ops::{self, ControlRequest, Line, MirrorJob, Progress};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The same bytes as each of these: what is taken is written down as what reads back the same.
pub fn control(data: &[u8]) {
    if let Some(asked) = same::<ControlRequest>(data)
        && let Some(row) = ops::named(&asked.name)
        && let Ok(input) = row.read(asked.input)
    {
        let again = row.read(input.clone()).expect("what was written reads");
        assert_eq!(again, input);
    }
    same::<Line>(data);
    same::<Progress>(data);
    same::<MirrorJob>(data);
}

fn same<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    let again = serde_json::to_vec(&again).expect("and written again");
    assert_eq!(
        String::from_utf8_lossy(&again),
        String::from_utf8_lossy(&written)
    );
    Some(read)
}
