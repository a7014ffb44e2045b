//! Lists of what takes most: by function, by label, and who calls whom. As data, and as text.

mod calls;
mod json;
mod lists;
mod table;
mod units;

pub use calls::{Call, Calls, calls};
pub use lists::{Order, Row, Top, by_function, by_label};
pub use table::{Direction, Style};
pub use units::Scale;
