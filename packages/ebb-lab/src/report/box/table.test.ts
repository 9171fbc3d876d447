import { expect, test } from 'vitest'
import { textWidth } from '../../units/text.js'
import {
  BOX_HEADER,
  boxOf,
  end,
  inOrder,
  listening,
  type Rest,
  run,
  sample,
  server,
  spikes,
  twoVariants
} from '../testing/box.js'
import { HOSTILE } from '../testing/hostile.js'
import { renderBoxHtml } from './html.js'
import { reportBoxes } from './report.js'
import { boxMarkdown, boxTable } from './table.js'
import { judgeBox } from './verdict.js'

test('writes boxes side by side, then their servers with notes', () => {
  expect(boxTable(judgeBox(twoVariants()))).toBe(`\
                                plain           ebb
peak of sums                 320.0 MB      140.0 MB
  relative to the first          1.00          0.44
sum of peaks                 320.0 MB      320.0 MB
multiplexing gain                1.00          2.29
at rest                       80.0 MB       80.0 MB
8 GB would hold                   100           228
  additional servers               96           224
  if all peaked at once           100           100

plain
             peak  footprint  kept  need  retention  release
server 1  80.0 MB  ~ 6,000 B     -     -          -        -  [1] [2] [3]
server 2  80.0 MB  ~ 6,000 B     -     -          -        -  [1] [2] [3]
server 3  80.0 MB  ~ 6,000 B     -     -          -        -  [1] [2] [3]
server 4  80.0 MB  ~ 6,000 B     -     -          -        -  [1] [2] [3]

ebb
             peak  footprint  kept  need  retention  release
server 1  80.0 MB  ~ 6,000 B     -     -          -        -  [1] [2] [3]
server 2  80.0 MB  ~ 6,000 B     -     -          -        -  [1] [2] [3]
server 3  80.0 MB  ~ 6,000 B     -     -          -        -  [1] [2] [3]
server 4  80.0 MB  ~ 6,000 B     -     -          -        -  [1] [2] [3]

✓ good, ~ fair, ✗ poor
~ footprint of server 1 (plain), server 2 (plain), server 3 (plain), server 4
  (plain) and 4 more: From 1,000 B to 8,000 B, as servers with an object or a
  goroutine for each connection.

[1] There is no control, so need, retention and release time are not known.
[2] There was no small pulse after the big ones, so kept is not known.
[3] The server prints no Cycle or Release lines, so its releases are not known.`)
})

const BAD: Rest[] = inOrder([
  run(0, 'with a limit and a name that goes on for quite a while', 'main', 600e6),
  ...['a server whose name is long, too', 'b', 'c', 'd'].map((name, id) => server(0, id, name)),
  ...[0, 1, 2].flatMap((id) => [listening(0, id), sample(0, id, 10e6, 200e6)]),
  {
    type: 'event',
    t: 10,
    server: 3,
    event: 'failed',
    text: 'x did not listen within 30 s; it said: bad\nluck \x1b[31m'
  },
  { type: 'event', t: 1000, server: 1, event: 'oom' },
  end(1000, 1, null, 'SIGKILL'),
  end(2000, 2, 3),
  { type: 'machine', t: 2000, kernel: 0, group: 599e6 },
  end(4000, 0)
])

test('shows how servers ended, and has no line longer than the terminal', () => {
  for (const width of [60, 80, 120]) {
    const text = boxTable(judgeBox(boxOf(BAD)), { width })
    // Six figures, a name and a state need 72 columns. A narrower terminal breaks these lines itself.
    const lines = text.split('\n').filter((line) => textWidth(line) > Math.max(width, 72))
    expect(lines).toEqual([])
    expect(text).toMatch(/^b .* killed/m)
    expect(text).toMatch(/^c .* ended/m)
    expect(text).toMatch(/^d .* not up/m)
    expect(text).toMatch(/^limit +600 MB$/m)
    expect(text).toMatch(/^charged to the cgroup +599\.0 MB$/m)
    expect(text).toContain('bad luck \\x1b[31m')
    expect(text).not.toContain('\x1b')
  }
})

test('escapes names in Markdown', () => {
  const text = boxMarkdown(judgeBox(twoVariants()))
  expect(text).toContain('| ebb | 140.0 MB | 0.44 | 320.0 MB | 2.29 | 80.0 MB | 228 | 224 | 100 |')
  expect(text).toContain('| server 4 (ebb) | 80.0 MB | 70.0 MB | ⚠️ 6,000 B | - | - | - | - |  |')
  const hostile = boxOf([run(0, '|<b>|'), ...HOSTILE.flatMap((name, id) => [server(0, id, name), listening(0, id)])])
  const lines = boxMarkdown(judgeBox(hostile))
    .split('\n')
    .filter((line) => line.startsWith('|'))
  for (const line of lines) expect(line).not.toMatch(/<[a-z]/)
})

test('escapes names in the page, so that none of them can run', async () => {
  const box = boxOf([
    run(0, HOSTILE[1] ?? ''),
    ...HOSTILE.flatMap((name, id) => [server(0, id, name), listening(0, id), sample(0, id, 1e7, 2e7)])
  ])
  const [verdict] = judgeBox(box)
  if (verdict === undefined) throw new Error('there is a verdict')
  const page = await renderBoxHtml([{ run: box.runs[0] as (typeof box.runs)[0], verdict }], {
    ...BOX_HEADER,
    name: HOSTILE[2] ?? ''
  })
  const outside = page.replace(/<script[\s\S]*?<\/script>/g, '')
  expect(outside).not.toMatch(/<img|<svg|<a href="javascript/)
  expect(page.match(/<script/g)).toHaveLength(3)
  expect(page).toContain("default-src 'none'")
})

test('reports the variants of several recordings', async () => {
  const { boxes } = await reportBoxes([boxOf(spikes('a', 0, 0, 1)), boxOf(spikes('b', 0, 0, 1))])
  expect(boxes.map(({ name }) => name)).toEqual(['a', 'b'])
  await expect(reportBoxes([boxOf([])])).rejects.toThrow(/nothing to report on/)
})
