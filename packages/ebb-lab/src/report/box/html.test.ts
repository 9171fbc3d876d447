import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { boxOf, spikes } from '../testing/box.js'
import { hasChromium, launchChromium } from '../testing/chromium.js'
import { renderBoxHtml } from './html.js'
import type { JudgedBox } from './judged-box.js'
import { judgeBox } from './verdict.js'

function pageOf(name: string): Promise<string> {
  const variants = ['plain Node', 'with ebb/auto', 'with park()']
  const lines = variants.flatMap((variant, i) => spikes(variant, i * 20_000, i * 4, i === 1 ? 0 : 1))
  const box = boxOf([...lines, { type: 'end', t: 60_000, reason: 'done' }], { memory: 8e9, name })
  const judged = judgeBox(box).map((verdict, i): JudgedBox => ({ run: box.runs[i] as JudgedBox['run'], verdict }))
  return renderBoxHtml(judged, box.header)
}

test('names the box once, and says how many variants it has', async () => {
  expect(await pageOf('box')).toContain('<h1>The box</h1>\n<p class="lead">4 servers in 3 variants, recorded')
  expect(await pageOf('four')).toContain('<h1>The box: four</h1>')
})

test.skipIf(!hasChromium)(
  'its tables fit into a window of 500 pixels, and their descriptions are aligned',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ebb-'))
    const file = join(folder, 'report.html')
    writeFileSync(file, await pageOf('box'))
    const browser = await launchChromium()
    try {
      const narrow = await browser.newPage({ viewport: { width: 500, height: 900 } })
      await narrow.goto(`file://${file}`)
      const tooWide =
        'Array.from(document.querySelectorAll(".scroll")).filter((e) => e.scrollWidth > e.clientWidth).length'
      expect(await narrow.evaluate(tooWide)).toBe(0)
      const wide = await browser.newPage({ viewport: { width: 1280, height: 900 } })
      await wide.goto(`file://${file}`)
      const lefts =
        'Array.from(document.querySelectorAll(".boxes small")).map((e) => Math.round(e.getBoundingClientRect().left))'
      expect(new Set((await wide.evaluate(lefts)) as number[]).size).toBe(1)
    } finally {
      await browser.close()
      rmSync(folder, { recursive: true })
    }
  },
  30_000
)
