import { ProcessView } from 'ebb/memory'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { NoteMark } from './notes.js'
import { Probe } from './probe.js'

test('memory in swap counts as anonymous memory, and is one note', () => {
  const view = new ProcessView(process.pid)
  const status = { ...view.status(), anonymous: 50_000_000, swapped: 0 }
  view.close()
  const read = vi.spyOn(ProcessView.prototype, 'status').mockImplementation(() => status)
  onTestFinished(() => read.mockRestore())
  const notes: NoteMark[] = []
  const probe = new Probe(process.pid, { every: 100, smapsEvery: 1000, onNote: (note) => notes.push(note) })
  onTestFinished(() => probe.close())
  expect([probe.sample(0).anonymous, notes]).toEqual([50_000_000, []])
  status.swapped = 12_000_000
  expect(probe.sample(100).anonymous).toBe(62_000_000)
  expect(probe.sample(200).anonymous).toBe(62_000_000)
  expect(notes).toEqual([{ event: 'note', code: 'swap-used', text: expect.stringContaining('12.0 MB') }])
})
