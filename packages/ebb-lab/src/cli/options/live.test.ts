import { expect, test } from 'vitest'
import { liveValues, parseLiveAddress } from './live.js'

test.each([
  ['bench --live -- node server.js', 'bench --live= -- node server.js'],
  ['bench --live :8080 --quick', 'bench --live :8080 --quick'],
  ['bench --live 0.0.0.0:8080', 'bench --live 0.0.0.0:8080'],
  ['bench --live [::]:8080', 'bench --live [::]:8080'],
  ['box --live box.yaml', 'box --live= box.yaml'],
  ['report --serve results', 'report --serve= results'],
  ['report a.ndjson --serve', 'report a.ndjson --serve='],
  ['pulse --live 127.0.0.1:3033', 'pulse --live= 127.0.0.1:3033'],
  ['pulse --live 3033', 'pulse --live= 3033'],
  ['pulse --live :5665 3033', 'pulse --live :5665 3033'],
  ['pulse --live=0.0.0.0:1 3033', 'pulse --live=0.0.0.0:1 3033'],
  ['record -- node server.js --live', 'record -- node server.js --live']
])('%s', (typed, expected) => {
  expect(liveValues(typed.split(' '), new Set(['live', 'serve'])).join(' ')).toBe(expected)
})

test('an option that the command does not have stays as it was typed', () => {
  const typed = ['doctor', '--live', '1']
  expect(liveValues(typed, new Set(['json']))).toEqual(typed)
})

test('without an address, the next free port is taken', () => {
  expect(parseLiveAddress('')).toEqual({ host: '127.0.0.1', port: 5665, isFlexible: true })
  expect(parseLiveAddress(':5665')).toEqual({ host: '127.0.0.1', port: 5665, isFlexible: false })
  expect(parseLiveAddress('0.0.0.0:80')).toEqual({ host: '0.0.0.0', port: 80, isFlexible: false })
})
