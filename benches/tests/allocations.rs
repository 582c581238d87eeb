//! How often memory is asked for in one step of an empty visit.
//!
//! The aim is ten. What is above it: decoding (eleven in XML, five in WBXML), a name and a value for each of the five
//! nodes of DevInfo, which the caller gets as its own, and reading the record (five).

use benches::visit::Visit;
use syncml::Encoding;

#[test]
fn a_step_of_an_empty_visit_asks_for_little_memory() {
    for (encoding, challenged_max, accepted_max) in [(Encoding::Xml, 21, 37), (Encoding::Wbxml, 15, 31)] {
        let visit = Visit::new(encoding);
        let challenged = allocation_counter::measure(|| drop(visit.challenge())).count_total;
        let accepted = allocation_counter::measure(|| drop(visit.accept())).count_total;
        assert!(
            challenged <= challenged_max && accepted <= accepted_max,
            "{encoding}: {challenged} allocations to challenge, {accepted} to accept"
        );
    }
}
