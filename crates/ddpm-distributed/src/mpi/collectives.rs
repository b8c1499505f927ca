//! Broadcasts, gathers and barriers, each of one or two exchanges.

use super::operation::Operation;
use super::worker::Worker;

/// Bytes of a length.
type Length = [u8; 8];

impl Worker {
    /// The ranks other than this one.
    pub(super) fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.rank;
        (0..self.size).filter(move |rank| *rank != own)
    }

    /// Waits until all ranks have come to `operation`. Every rank hears from every other one, so that each knows who is
    /// missing.
    pub(super) fn meet_all(&mut self, operation: Operation) {
        let mut received = vec![0u8; self.size];
        let outgoing = self.others().map(|rank| (rank, &[0u8][..])).collect();
        let own = self.rank;
        let incoming = received.chunks_mut(1).enumerate().filter(|(rank, _)| *rank != own).collect();
        self.exchange(operation, outgoing, incoming);
    }

    pub(super) fn barrier(&mut self) {
        self.meet_all(Operation::Barrier);
    }

    /// The bytes of rank 0.
    pub(super) fn broadcast(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.rank == 0 {
            let length = (bytes.len() as u64).to_le_bytes();
            let to_all = |bytes| (1..self.size).map(|rank| (rank, bytes)).collect();
            let (lengths, contents): (Vec<_>, Vec<_>) = (to_all(&length[..]), to_all(&bytes[..]));
            self.exchange(Operation::BroadcastLength, lengths, Vec::new());
            self.exchange(Operation::BroadcastBytes, contents, Vec::new());
        } else {
            let mut length = Length::default();
            self.exchange(Operation::BroadcastLength, Vec::new(), vec![(0, &mut length[..])]);
            bytes = vec![0; u64::from_le_bytes(length) as usize];
            self.exchange(Operation::BroadcastBytes, Vec::new(), vec![(0, &mut bytes[..])]);
        }
        bytes
    }

    /// The bytes of every rank, on rank 0.
    pub(super) fn gather(&mut self, bytes: Vec<u8>) -> Option<Vec<Vec<u8>>> {
        if self.rank != 0 {
            let length = (bytes.len() as u64).to_le_bytes();
            self.exchange(Operation::GatherLength, vec![(0, &length[..])], Vec::new());
            self.exchange(Operation::GatherBytes, vec![(0, &bytes[..])], Vec::new());
            return None;
        }
        let mut lengths = vec![Length::default(); self.size];
        let incoming = lengths.iter_mut().enumerate().skip(1).map(|(rank, length)| (rank, &mut length[..])).collect();
        self.exchange(Operation::GatherLength, Vec::new(), incoming);
        let mut all: Vec<_> = lengths.into_iter().map(|length| vec![0; u64::from_le_bytes(length) as usize]).collect();
        let incoming = all.iter_mut().enumerate().skip(1).map(|(rank, bytes)| (rank, &mut bytes[..])).collect();
        self.exchange(Operation::GatherBytes, Vec::new(), incoming);
        all[0] = bytes;
        Some(all)
    }

    /// The bytes of every rank, on every rank.
    pub(super) fn all_gather(&mut self, operation: Operation, bytes: &[u8]) -> Vec<Vec<u8>> {
        let own = self.rank;
        let length = (bytes.len() as u64).to_le_bytes();
        let mut lengths = vec![length; self.size];
        let to_others = |bytes| self.others().map(|rank| (rank, bytes)).collect();
        let (length, contents): (Vec<_>, Vec<_>) = (to_others(&length[..]), to_others(bytes));
        let others = |(rank, _): &(usize, _)| *rank != own;
        let incoming = lengths.iter_mut().map(|length| &mut length[..]).enumerate().filter(others).collect();
        self.exchange(operation, length, incoming);
        let mut all: Vec<_> = lengths.into_iter().map(|length| vec![0; u64::from_le_bytes(length) as usize]).collect();
        let others = |(rank, _): &(usize, _)| *rank != own;
        let incoming = all.iter_mut().map(|bytes| &mut bytes[..]).enumerate().filter(others).collect();
        self.exchange(operation, contents, incoming);
        all[own] = bytes.to_vec();
        all
    }
}
