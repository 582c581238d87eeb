//! The options of an interaction with the user (DM Protocol 1.2, section 8.5.2).

use syncml::{Alert, Data, StatusCode};

use super::Interaction;

/// Reads alert 1100 to 1104.
pub(super) fn parse<'a>(code: u16, alert: &'a Alert<'_>) -> Result<Interaction<'a>, StatusCode> {
    let mut texts =
        alert.items.iter().map(|item| item.data.as_ref().and_then(Data::as_text).unwrap_or_default());
    let options = texts.next().unwrap_or_default();
    let text = texts.next().ok_or(StatusCode::INCOMPLETE_COMMAND)?;
    let mut interaction = Interaction { code, text, choices: texts.collect(), ..Interaction::default() };
    let is_choice = matches!(code, syncml::alert::SINGLE_CHOICE | syncml::alert::MULTIPLE_CHOICE);
    if is_choice && interaction.choices.is_empty() {
        return Err(StatusCode::INCOMPLETE_COMMAND);
    }
    for option in options.split('&') {
        let Some((key, value)) = option.split_once('=') else { continue };
        let value = decoded(value);
        // What is not known is skipped without a word.
        match key.trim() {
            "MINDT" => interaction.display_s_min = value.trim().parse().ok(),
            "MAXDT" => interaction.wait_s_max = value.trim().parse().ok(),
            "DR" => interaction.preselected = Some(value),
            "MAXLEN" => interaction.chars_max = value.trim().parse().ok(),
            "IT" => interaction.input_type = Some(value),
            "ET" => interaction.echo_type = Some(value),
            _ => {}
        }
    }
    Ok(interaction)
}

fn decoded(value: &str) -> String {
    let spaced = value.replace('+', " ");
    dm_tree::unescape_segment(&spaced).map_or(spaced.clone(), std::borrow::Cow::into_owned)
}
