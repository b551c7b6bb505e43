//! What led to what, kept as a graph and not printed.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::Sink;
use crate::deeds::deed::Deed;
use crate::dialog::Said;
use crate::graph::{Edge, Graph};
use crate::stream::Message;

/// Keeps all edges in a graph that somebody else has, too.
pub struct Collector(pub Arc<Mutex<Graph>>);

impl Sink for Collector {
    fn message(&mut self, _message: &Message<'_>) -> io::Result<()> {
        Ok(())
    }

    fn said(&mut self, _said: &Said) -> io::Result<()> {
        Ok(())
    }

    fn deed(&mut self, _deed: &Deed) -> io::Result<()> {
        Ok(())
    }

    fn tells_edges(&self) -> bool {
        true
    }

    fn edge(&mut self, edge: &Edge) -> io::Result<()> {
        let mut graph = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        graph.add(edge.clone());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
