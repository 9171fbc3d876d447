import { expect, test } from 'vitest'
import { synthetic } from '../report/testing/synthetic.js'
import { Feed } from './feed.js'
import { ServerRuns } from './server-runs.js'
import type { EventStream } from './streams.js'

/** A page that reads at once, or not at all while `isSlow` is set. */
class FakePage implements EventStream {
  readonly events: { id: string; event: string; data: Record<string, unknown> }[] = []
  queued = 0
  isSlow = false
  isClosed = false

  send(bytes: Buffer): boolean {
    if (this.isSlow) this.queued += bytes.length
    const [, id = '', event = '', data = '{}'] =
      /^(?:retry: 1000\n)?(?:id: (.*)\n)?event: (.*)\ndata: (.*)\n\n$/.exec(bytes.toString()) ?? []
    this.events.push({ id, event, data: JSON.parse(data) })
    return true
  }

  close(): void {
    this.isClosed = true
  }

  get kinds(): string[] {
    return this.events.map(({ event }) => event)
  }

  dataOf(index: number): object {
    return this.events[index]?.data ?? {}
  }

  get lastId(): string {
    return this.events.at(-1)?.id ?? ''
  }
}

function running(): { runs: ServerRuns; feed: Feed; grow: (count?: number) => void } {
  const { header, samples, events } = synthetic({})
  const runs = new ServerRuns()
  runs.begin(header, 7)
  for (const event of events) runs.addEvent(event)
  let next = 0
  const grow = (count = 1): void => {
    for (let i = 0; i < count; i++)
      runs.addSample({ ...(samples[next % samples.length] as (typeof samples)[0]), t: 100 * next++ })
  }
  grow(10)
  const feed = new Feed(() => runs.view())
  return { runs, feed, grow }
}

test('a page gets everything at first, then only the points that are new', () => {
  const { feed, grow } = running()
  const page = new FakePage()
  feed.open(page, undefined)
  grow(3)
  feed.update()
  feed.update()
  expect(page.kinds).toEqual(['view', 'changes'])
  const { charts } = page.dataOf(1) as {
    charts: Record<string, { points: { id: string; from: number; add: [] }[] }>
  }
  const anonymous = charts.memory?.points.find(({ id }) => id === '0:anonymous')
  expect(anonymous).toMatchObject({ from: 10 })
  expect(anonymous?.add).toHaveLength(3)
})

test('a late page gets what happened before', () => {
  const { feed, grow } = running()
  feed.open(new FakePage(), undefined)
  grow(20)
  const late = new FakePage()
  feed.open(late, undefined)
  const { charts } = late.dataOf(0) as { charts: { option: { series: { id: string; data: [] }[] } }[] }
  expect(charts[0]?.option.series.find(({ id }) => id === '0:anonymous')?.data).toHaveLength(30)
})

test('a page that reconnects gets only what it has missed, also if nobody was there', () => {
  const { feed, grow } = running()
  const page = new FakePage()
  const close = feed.open(page, undefined)
  grow()
  feed.update()
  close()
  grow(5)
  const again = new FakePage()
  feed.open(again, page.lastId)
  expect(again.kinds).toEqual(['changes'])
  for (const id of ['other-1', 'x', `${page.lastId.split('-')[0]}-99`, '']) {
    const stranger = new FakePage()
    feed.open(stranger, id)
    expect(stranger.kinds).toEqual(['view'])
  }
})

test('a new run needs a new page, and so does one that missed it', () => {
  const { runs, feed } = running()
  const page = new FakePage()
  const close = feed.open(page, undefined)
  const before = page.lastId
  runs.begin(synthetic({ name: 'another' }).header, 7)
  feed.update()
  expect(page.kinds).toEqual(['view', 'view'])
  close()
  const again = new FakePage()
  feed.open(again, before)
  expect(again.kinds).toEqual(['view'])
})

test('a slow page gets nothing more until it has read, and then a whole view', () => {
  const { feed, grow } = running()
  const [slow, quick] = [new FakePage(), new FakePage()]
  feed.open(slow, undefined)
  feed.open(quick, undefined)
  slow.isSlow = true
  let queued = -1
  while (queued !== slow.queued) {
    queued = slow.queued
    grow(1500)
    feed.update()
  }
  const got = slow.events.length
  grow()
  feed.update()
  expect(slow.events).toHaveLength(got)
  slow.isSlow = false
  slow.queued = 0
  grow()
  feed.update()
  expect(slow.kinds.at(-1)).toBe('view')
  expect(quick.kinds.filter((kind) => kind === 'view')).toHaveLength(1)
})

test('the end is told to all pages, and their streams are closed', async () => {
  const { feed } = running()
  const [one, stuck] = [new FakePage(), new FakePage()]
  feed.open(one, undefined)
  feed.open(stuck, undefined)
  stuck.queued = 1
  await feed.end(50)
  expect([one.kinds.at(-1), one.isClosed, stuck.isClosed, feed.size]).toEqual(['end', true, true, 0])
})
