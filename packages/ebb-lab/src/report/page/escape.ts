/** Escapes text from recordings for an HTML page: as text, as an attribute, or as data inside a script element. */
import { clean } from '../../units/text.js'

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/** Escapes text for an element or a quoted attribute, and spells out control characters. */
export function escapeHtml(text: string): string {
  return clean(text).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character)
}

/**
 * Returns JSON for the inside of a `<script>` element: without characters that could end the element or begin a
 * comment, and without characters that old JavaScript takes for the end of a line.
 */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  )
}
