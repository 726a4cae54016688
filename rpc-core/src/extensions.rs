//! Extensions: values that layers and handlers of one call leave for each other, found by their type; they never leave the process.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Values by their type. Empty, as most are, they hold no memory.
///
/// A layer leaves what it has found out, the handler behind it reads it:
///
/// ```
/// use rpc_core::Extensions;
///
/// #[derive(Debug, PartialEq)]
/// struct Tenant(String);
///
/// let mut extensions = Extensions::default();
/// extensions.insert(Tenant("blue".to_owned()));
/// assert_eq!(extensions.get::<Tenant>(), Some(&Tenant("blue".to_owned())));
/// assert_eq!(extensions.get::<u64>(), None);
/// ```
#[derive(Clone, Default)]
pub struct Extensions {
    /// None as long as nothing was left: they are moved about with every call.
    values: Option<Box<Values>>,
}

type Value = Arc<dyn Any + Send + Sync>;

#[derive(Clone, Default)]
struct Values(Vec<Value>);

impl Extensions {
    /// Leaves a value, instead of one of the same type.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.remove::<T>();
        self.values.get_or_insert_default().0.push(Arc::new(value));
    }

    /// The value of a type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.values().iter().find_map(|value| value.downcast_ref())
    }

    /// Takes the value of a type out, and shares it with whoever has copied the extensions before.
    pub fn remove<T: Send + Sync + 'static>(&mut self) -> Option<Arc<T>> {
        let values = &mut self.values.as_mut()?.0;
        let index = values.iter().position(|value| value.is::<T>())?;
        values.swap_remove(index).downcast().ok()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values().is_empty()
    }

    fn values(&self) -> &[Value] {
        self.values.as_ref().map_or(&[], |values| &values.0)
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_a_type() {
        let mut extensions = Extensions::default();
        extensions.insert(1_u32);
        extensions.insert("text");
        extensions.insert(2_u32);
        assert_eq!(
            (extensions.get(), extensions.get()),
            (Some(&2_u32), Some(&"text"))
        );
        let copy = extensions.clone();
        assert_eq!(extensions.remove::<u32>().as_deref(), Some(&2));
        assert_eq!(extensions.remove::<u32>(), None);
        assert_eq!((extensions.len(), copy.len()), (1, 2));
    }
}
