import { expect, test } from 'vitest'
import { nearest } from './nearest.js'

const NAMES = ['idle', 'first', 'attachmentLimit', 'giveBack', 'maxPause', 'MAX_PAUSE', 'LOG', 'WORTH']

test.each([
  ['idle', 'idle'],
  ['idel', 'idle'],
  ['Idle', 'idle'],
  ['giveback', 'giveBack'],
  ['attachementLimit', 'attachmentLimit'],
  ['maxPuase', 'maxPause'],
  ['LOGS', 'LOG'],
  ['LGO', 'LOG'],
  ['idle time', undefined],
  ['PORT', undefined],
  ['noDelay', undefined],
  ['', undefined]
])('%s: %s', (word, name) => {
  expect(nearest(word, NAMES)).toBe(name)
})
