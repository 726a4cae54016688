//! Times: spans, and instants of the calendar.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rkyv::bytecheck::CheckBytes;
use rkyv::munge::munge;
use rkyv::primitive::{ArchivedI64, ArchivedU32};
use rkyv::time::ArchivedDuration;
use rkyv::{Archive, Place, Portable};

use super::Wire;
use crate::archive::{ArchiveError, Decoder};
use crate::encode::{EncodeError, Encoder};
use crate::schema::Schema;

impl Wire for Duration {
    type Archived = ArchivedDuration;
    type Resolver = ();
    const DEPTH: u32 = 0;

    fn describe(_: &mut Schema) -> String {
        "Duration".to_owned()
    }

    fn serialize(&self, _: &mut Encoder<'_>) -> Result<(), EncodeError> {
        Ok(())
    }

    fn resolve(&self, (): (), out: Place<ArchivedDuration>) {
        Archive::resolve(self, (), out);
    }

    fn deserialize(archived: &ArchivedDuration, _: &mut Decoder) -> Result<Self, ArchiveError> {
        let nanos = archived.subsec_nanos();
        if nanos >= NANOS_PER_SEC {
            return Err(ArchiveError::TimeRange);
        }
        Ok(Self::new(archived.as_secs(), nanos))
    }
}

/// An instant of the calendar in archived form: time since the start of 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Portable, CheckBytes)]
#[rkyv(crate = rkyv)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub struct ArchivedSystemTime {
    secs: ArchivedI64,
    nanos: ArchivedU32,
    padding: ArchivedU32,
}

impl ArchivedSystemTime {
    /// Whole seconds since the start of 1970, rounded down; negative before it.
    pub fn unix_seconds(&self) -> i64 {
        self.secs.to_native()
    }

    /// Nanoseconds beyond [`ArchivedSystemTime::unix_seconds`].
    pub fn subsec_nanos(&self) -> u32 {
        self.nanos.to_native()
    }

    /// The instant, or `None` if it is malformed or outside of what this machine can represent.
    pub fn to_system_time(&self) -> Option<SystemTime> {
        let nanos = Some(self.subsec_nanos()).filter(|nanos| *nanos < NANOS_PER_SEC)?;
        let seconds = self.unix_seconds();
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let base = if seconds < 0 {
            UNIX_EPOCH.checked_sub(whole)
        } else {
            UNIX_EPOCH.checked_add(whole)
        };
        base?.checked_add(Duration::from_nanos(nanos.into()))
    }
}

impl Wire for SystemTime {
    type Archived = ArchivedSystemTime;
    type Resolver = (i64, u32);
    const DEPTH: u32 = 0;

    fn describe(_: &mut Schema) -> String {
        "SystemTime".to_owned()
    }

    fn serialize(&self, _: &mut Encoder<'_>) -> Result<(i64, u32), EncodeError> {
        seconds_and_nanos(*self).ok_or(EncodeError::Unencodable)
    }

    fn resolve(&self, (seconds, subsec): (i64, u32), out: Place<ArchivedSystemTime>) {
        munge!(let ArchivedSystemTime { secs, nanos, padding } = out);
        secs.write(ArchivedI64::from_native(seconds));
        nanos.write(ArchivedU32::from_native(subsec));
        padding.write(ArchivedU32::from_native(0));
    }

    fn deserialize(archived: &ArchivedSystemTime, _: &mut Decoder) -> Result<Self, ArchiveError> {
        archived.to_system_time().ok_or(ArchiveError::TimeRange)
    }
}

const NANOS_PER_SEC: u32 = 1_000_000_000;

/// Seconds since 1970 rounded down, and the nanoseconds beyond them.
fn seconds_and_nanos(time: SystemTime) -> Option<(i64, u32)> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Some((i64::try_from(after.as_secs()).ok()?, after.subsec_nanos())),
        Err(error) => {
            let before = error.duration();
            let seconds = 0_i64.checked_sub_unsigned(before.as_secs())?;
            match before.subsec_nanos() {
                0 => Some((seconds, 0)),
                nanos => Some((seconds.checked_sub(1)?, NANOS_PER_SEC - nanos)),
            }
        }
    }
}
