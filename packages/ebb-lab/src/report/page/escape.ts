/** Text from recordings, made fit for an HTML page: as text, as an attribute, as data inside a script element. */
import { clean } from '../../units/text.js'

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/** For text and for quoted attributes. Control characters are spelled out, as everywhere. */
export function escapeHtml(text: string): string {
  return clean(text).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character)
}

/**
 * JSON that can stand inside a `<script>` element: no character that could end the element or begin a comment, and
 * none that old JavaScript takes for the end of a line.
 */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  )
}
