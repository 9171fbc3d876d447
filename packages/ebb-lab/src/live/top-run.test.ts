import { expect, test } from 'vitest'
import { HOSTILE } from '../report/testing/hostile.js'
import { box, server } from '../top/testing/samples.js'
import { changesOf } from './changes.js'
import { TopRun } from './top-run.js'
import { MOST_DRAWN } from './top-servers.js'
import { type LiveView, sentView } from './view.js'

function series(view: LiveView, chart: string): { name: string; data: [number, number][] }[] {
  const option = view.charts.find(({ id }) => id === chart)?.option as {
    series: { name: string; data: [number, number][] }[]
  }
  return option.series
}

function names(view: LiveView, chart = 'top-memory'): string[] {
  return series(view, chart).map(({ name }) => name)
}

function started(): TopRun {
  return new TopRun({ sort: 'anonymous', reversed: false })
}

const api = server({ pid: 1, name: 'node api.js', port: 3033, clients: 7 })
const inside = { released: 12e6, releases: 1234, longestPause: 1234.5, parked: 9, awake: 2 }

test('each server has a curve of memory and of clients, and a row whose figures change', () => {
  const run = started()
  run.addSample({ ...box(api), time: 1000 })
  const before = sentView(run.view())
  run.addSample({ ...box({ ...api, clients: 9, anonymous: 20e6, cpu: 0.5 }), time: 3000 })
  const grown = sentView(run.view())
  expect(changesOf(before, grown)).toMatchObject({
    texts: { 'server-1-1-clients': '9', 'server-1-1-cpu': '50.0 %', 'now-anonymous': '20.0 MB' },
    charts: { 'top-memory': { points: [{ id: '0:node api.js :3033', from: 1, add: [[2, 20]] }] } }
  })
  const unix = server({ pid: 2, name: 'agent', unix: '/run/agent.sock', clients: null })
  run.addSample({ ...box(api, unix), time: 5000 })
  const view = run.view()
  expect(changesOf(grown, sentView(view))).toBe('all')
  expect(names(view)).toEqual(['node api.js :3033', 'agent /run/agent.sock'])
  // Clients that are not known have no curve.
  expect(names(view, 'top-clients')).toEqual(['node api.js :3033'])
  expect(view.texts).toMatchObject({ 'server-2-1-clients': '-', 'server-2-1-address': '/run/agent.sock' })
  expect(view.labels['top-memory']).toContain('node api.js :3033: 10.0 MB, agent /run/agent.sock: 10.0 MB')
})

test('releases and pressure have charts if they are known, and the rows have all columns of ebb top', () => {
  const run = started()
  run.addSample({ ...box(api), pressure: null })
  expect(run.view().charts.map(({ id }) => id)).toEqual(['top-memory', 'top-clients'])
  const sincePeak = { clients: 10_000, before: 5e6, ratio: 2 }
  run.addSample(box(server({ pid: 3, name: 'node chat.js', inside, sincePeak, pressure: 0.25 })))
  const view = run.view()
  expect(view.charts.map(({ id }) => id)).toEqual(['top-memory', 'top-clients', 'top-released', 'top-pressure'])
  expect(names(view, 'top-pressure')).toEqual(['the machine', 'node chat.js :80'])
  const cells = Object.entries(view.texts).filter(([id]) => id.startsWith('server-3-1-'))
  expect(Object.fromEntries(cells.map(([id, text]) => [id.slice(11), text]))).toEqual({
    clients: '0',
    anonymous: '10.0 MB',
    peak: '2.00',
    resident: '50.0 MB',
    released: '12.0 MB',
    releases: '1,234',
    pause: '1234.5 ms',
    parked: '9',
    awake: '2',
    pressure: '25.0 %',
    cpu: '0.0 %',
    pid: '3',
    address: '127.0.0.1:80'
  })
})

test('the servers with the highest peaks are drawn; one that ended makes room', () => {
  const run = started()
  const many = Array.from({ length: MOST_DRAWN }, (_, i) =>
    server({ pid: 100 + i, name: 'small', port: 1000 + i, anonymous: (i + 1) * 10e6 })
  )
  run.addSample(box(...many))
  // It is not so much higher than the lowest that this would have to go.
  const last = server({ pid: 99, name: 'last', port: 99, anonymous: 12e6 })
  run.addSample(box(...many, last))
  expect(names(run.view())).not.toContain('last :99')
  expect(names(run.view())).toHaveLength(MOST_DRAWN)
  const [, ...others] = names(run.view())
  run.addSample(box(...many.slice(0, -1), last))
  // The servers that go on stay where they were, so each keeps its colour.
  const after = names(run.view())
  expect(after).toContain('last :99')
  expect(after.filter((name) => others.includes(name))).toEqual(others.filter((name) => after.includes(name)))
})

test('a server that was started again has a curve of its own', () => {
  const run = started()
  run.addSample(box(api))
  run.addSample(box({ ...api, id: '4-9', pid: 4 }))
  expect(names(run.view())).toEqual(['node api.js :3033 (1)', 'node api.js :3033 (4)'])
})

test('a page of days takes as much memory as one of an hour', () => {
  const run = started()
  for (let i = 0; i < 20_000; i++) {
    run.addSample({ ...box({ ...api, anonymous: i === 5 ? 99e6 : 10e6 }), time: i * 2000 })
  }
  const [{ data } = { data: [] }] = series(run.view(), 'top-memory')
  expect(data.length).toBeLessThan(1000)
  expect(data).toContainEqual([10, 99])
})

test('no name of a server becomes an element', () => {
  const run = started()
  run.addSample(box(...HOSTILE.map((name, i) => server({ pid: i + 1, name, unix: `/${name}` }))))
  expect(run.view().body).not.toMatch(/<(img|script|svg|a)\b/i)
})

test('before the first sample, and without a server, there is a page', () => {
  const run = started()
  expect(run.view()).toMatchObject({ state: 'running', status: 'Looking for servers' })
  run.addSample(box())
  expect(run.view().texts['now-servers']).toBe('0')
  run.finish()
  expect(run.view().state).toBe('finished')
})
