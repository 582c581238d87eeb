//! A file's octets on their way from its lines to a store, which reads them as one stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
};

/// Pieces that may wait for the store.
const PIECES_MAX: usize = 4;

/// The reading end: an error, and never an end, where the pieces stop before the file's size.
pub(crate) struct Pieces {
    coming: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    read: usize,
    left: u64,
}

/// Both ends of a file of `size` octets.
pub(crate) fn pieces(size: u64) -> (mpsc::Sender<Vec<u8>>, Pieces) {
    let (sender, coming) = mpsc::channel(PIECES_MAX);
    (sender, Pieces { coming, piece: Vec::new(), read: 0, left: size })
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.read == self.piece.len() && self.left > 0 {
            let Some(piece) = ready!(self.coming.poll_recv(cx)) else {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            };
            (self.piece, self.read) = (piece, 0);
        }
        let rest = self.piece.get(self.read..).unwrap_or_default();
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..taken).unwrap_or_default());
        self.read += taken;
        self.left = self.left.saturating_sub(taken as u64);
        Poll::Ready(Ok(()))
    }
}
