/** Tests that notes of old recordings, which have no codes, are read as notes of new ones. */
import { expect, test } from 'vitest'
import { parseBox } from '../record/box/read.js'
import type { BoxRecording, BoxRun } from '../record/box/recording.js'
import { withNoteCode } from '../record/legacy-notes.js'
import { answersMissing, linesLeftOut, type NoteMark, oneOfSeveral } from '../record/notes.js'
import { parseRecording } from '../record/read.js'
import { toLines } from '../record/write.js'
import { renderBoxHtml } from './box/html.js'
import { boxMarkdown, boxTable } from './box/table.js'
import { judgeBox } from './box/verdict.js'
import { renderHtml } from './page/html.js'
import { BOX_HEADER, inOrder, listening, type Rest, run, sample, server } from './testing/box.js'
import { synthetic } from './testing/synthetic.js'
import { judge } from './verdict.js'

/** The sentences that old versions wrote, with the code and the numbers that new versions write. */
const OLD: [sentence: string, code: string, numbers: object][] = [
  ['1234 lines of the server left out: it prints too many a second', 'lines-left-out', { lines: 1234 }],
  ['7 answers that were waited for did not come', 'answers-missing', { answers: 7 }],
  [
    'Its figures are those of one process alone: 2 processes listen on port 80: 4, 5; start the server with one worker',
    'one-of-several',
    {}
  ]
]

const others = [
  'the server floods its log: it is read no faster than 16 MB a second',
  'twelve lines of the server left out',
  'kernel memory is missing: 7 answers that were waited for did not come'
]

test.each(OLD)('gives the sentence %j its code', (text, code, numbers) => {
  const event = { type: 'event' as const, t: 1, event: 'note' as const, text }
  expect(withNoteCode(event)).toEqual({ ...event, code, ...numbers })
})

test('leaves other sentences, other events and notes with a code as they are', () => {
  for (const text of others) expect(withNoteCode({ event: 'note', text })).toEqual({ event: 'note', text })
  const [text] = OLD[0] as (typeof OLD)[0]
  expect(withNoteCode({ event: 'line', text })).toEqual({ event: 'line', text })
  expect(withNoteCode({ event: 'note', text, code: 'later' })).toEqual({ event: 'note', text, code: 'later' })
})

test('new notes have codes and numbers', () => {
  expect([linesLeftOut(1234, 50), answersMissing(7), oneOfSeveral('2 processes')]).toEqual(
    OLD.map(([, code, numbers]) => ({ event: 'note', code, ...numbers, text: expect.any(String) }))
  )
})

/** Returns a box with two servers that both have all the notes. */
function boxWith(notes: readonly Omit<NoteMark, 'event'>[]): Promise<BoxRecording> {
  const lines: Rest[] = [run(0, 'x'), ...[0, 1].flatMap((id) => [server(0, id, `server ${id}`), listening(0, id)])]
  for (const id of [0, 1]) {
    lines.push(...[100, 200, 300].map((t) => sample(t, id, 10e6, 20e6)))
    lines.push(...notes.map((note): Rest => ({ type: 'event', t: 250, server: id, event: 'note', ...note })))
  }
  const text = [BOX_HEADER, ...inOrder(lines), { type: 'end', t: 400, reason: 'done' }]
  return parseBox(text.map((line) => `${JSON.stringify(line)}\n`).join(''))
}

test('an old recording of a box makes the same report as a new one', async () => {
  const old = await boxWith([...OLD.map(([text]) => ({ text })), ...others.map((text) => ({ text }))])
  const now = await boxWith([
    ...OLD.map(([text, code, numbers]) => ({ text, code, ...numbers })),
    ...others.map((text) => ({ text, code: 'of-a-later-version' }))
  ])
  const [before, after] = [judgeBox(old), judgeBox(now)]
  expect(after).toEqual(before)
  expect(before[0]?.failures).toBe(14)
  const { missing = [], notes = [] } = before[0]?.servers[0]?.verdict ?? {}
  expect(missing).toEqual(notes.map(({ text }) => text))
  expect(notes.map(({ code }) => code)).toEqual(
    expect.arrayContaining(['output-incomplete', 'one-of-several', 'answers-missing'])
  )
  const page = async (box: BoxRecording, [verdict] = judgeBox(box)): Promise<string> =>
    await renderBoxHtml([{ run: box.runs[0] as BoxRun, verdict: verdict as NonNullable<typeof verdict> }], box.header)
  expect(await page(now)).toBe(await page(old))
  expect(await page(now)).toContain('1,234 lines that the server printed are left out')
  // A note with an unknown code is shown.
  for (const text of others) expect(await page(now)).toContain(text)
  expect(boxTable(after)).toBe(boxTable(before))
  expect(boxMarkdown(after)).toBe(boxMarkdown(before))
})

test('an unknown code of a later version is kept, and its text is shown', async () => {
  const recording = synthetic()
  recording.events.unshift({ type: 'event', t: 0, event: 'note', code: 'of-a-later-version', text: 'It rained.' })
  const text = [...toLines(recording)].map((line) => `${JSON.stringify(line)}\n`).join('')
  const read = await parseRecording(text)
  expect(read).toEqual(recording)
  expect(await renderHtml([{ recording: read, control: null, verdict: judge(read) }])).toContain('It rained.')
})
