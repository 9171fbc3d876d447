import fc from 'fast-check'
import { expect, test } from 'vitest'
import { escapeHtml, scriptJson } from './escape.js'

test('escapeHtml() returns text that opens no tag and leaves no attribute', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(escapeHtml(text)).not.toMatch(/[<>"'\u2028]/)
    })
  )
  expect(escapeHtml(`<img src="x">&'`)).toBe('&lt;img src=&quot;x&quot;&gt;&amp;&#39;')
})

test('scriptJson() returns JSON that cannot end its script element', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const json = scriptJson({ text: `</script><!--\u2028${text}` })
      expect(json).not.toMatch(/[<>&\u2028\u2029]/)
      expect(JSON.parse(json)).toEqual({ text: `</script><!--\u2028${text}` })
    })
  )
})
