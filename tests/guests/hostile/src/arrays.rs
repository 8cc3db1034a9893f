//! Arrays that are right, and ways to make them wrong.

use crate::pipe::stage::arrow::Array;

fn bytes<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
    values.flatten().collect()
}

pub fn int64(rows: usize) -> Array {
    let values = bytes((0..rows as i64).map(i64::to_le_bytes));
    Array { length: rows as u32, null_count: 0, buffers: vec![Vec::new(), values] }
}

/// Two bytes a row.
pub fn utf8(rows: usize) -> Array {
    let offsets = bytes((0..=rows as i32).map(|n| (n * 2).to_le_bytes()));
    let values = vec![b'x'; rows * 2];
    Array { length: rows as u32, null_count: 0, buffers: vec![Vec::new(), offsets, values] }
}

pub fn offset(mut array: Array, at: usize, value: i32) -> Array {
    array.buffers[1][at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
    array
}

/// Two items a row.
pub fn list_of_int64(rows: usize) -> Vec<Array> {
    let mut list = utf8(rows);
    list.buffers.pop();
    vec![list, int64(rows * 2)]
}

/// Keys that are all `key`, into two values.
pub fn dictionary(rows: usize, key: i32) -> Vec<Array> {
    let keys = bytes((0..rows).map(|_| key.to_le_bytes()));
    vec![Array { length: rows as u32, null_count: 0, buffers: vec![Vec::new(), keys] }, utf8(2)]
}

pub fn boolean(rows: usize, fill: u8) -> Array {
    let values = vec![fill; rows.div_ceil(8)];
    Array { length: rows as u32, null_count: 0, buffers: vec![Vec::new(), values] }
}

/// One array whose 4,096 buffers of 16 MiB all lie on the same memory: 64 GiB for a host that believes it.
pub fn aliased() -> Array {
    let shared = vec![0u8; 16 << 20].leak();
    let (start, len) = (shared.as_mut_ptr(), shared.len());
    // SAFETY: none; owning one allocation many times is the attack. The host gives up while it reads the results, so
    // that they are never freed.
    let buffers = (0..4096).map(|_| unsafe { Vec::from_raw_parts(start, len, len) }).collect();
    Array { length: 1, null_count: 0, buffers }
}
