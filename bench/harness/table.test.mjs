import { expect, test } from 'vitest'
import { alignColumns, figurePage, figureTable, markdownTable, wrapColumns } from './table.mjs'

test('columns align left or right, and lines have no trailing spaces', () => {
  const lines = [
    ['name', 'figure', 'note'],
    ['a', '1', ''],
    ['longer', '1,000', 'x']
  ]
  expect(alignColumns(lines, new Set([0, 2]))).toEqual(['name    figure  note', 'a            1', 'longer   1,000  x'])
})

test('a table of figures has a rule below its headings, and its notes below the table', () => {
  const text = figureTable({
    headings: ['figure', 'ebb', 'reached'],
    left: new Set(['figure', 'reached']),
    rows: [
      { label: 'storm', cells: ['storm', '12 ms', 'yes'], notes: ['rounds: 11 12 13', 'a second note'] },
      { label: 'echo', cells: ['echo', '3 ms', 'no'] }
    ]
  })
  expect(text.split('\n')).toEqual([
    'figure    ebb  reached',
    '------  -----  -------',
    'storm   12 ms  yes',
    'echo     3 ms  no',
    '',
    'storm: rounds: 11 12 13',
    'storm: a second note'
  ])
})

test('a table of figures without notes ends with its last line', () => {
  expect(figureTable({ headings: ['a'], left: new Set(['a']), rows: [{ label: 'x', cells: ['x'] }] })).toBe('a\n-\nx')
})

test('columns that do not fit follow in a further block with the names', () => {
  const lines = [
    ['', 'one', 'two', 'three'],
    ['ebb', '1', '2', '3']
  ]
  expect(wrapColumns(lines, 80)).toBe('     one  two  three\nebb    1    2      3')
  expect(wrapColumns(lines, 14)).toBe('     one  two\nebb    1    2\n\n     three\nebb      3')
  expect(wrapColumns(lines, 1).split('\n\n')).toHaveLength(3)
})

test('a Markdown table aligns its first column left and all others right', () => {
  expect(markdownTable(['server', 'MB'], [['C', '0.1']])).toBe('| server | MB |\n| --- | ---: |\n| C | 0.1 |')
})

test('the figures of a page are a Markdown table and a list of notes', () => {
  const figures = { headings: ['figure', 'ms', 'aim'], left: new Set(['figure', 'aim']) }
  const row = { label: 'storm', cells: ['storm', '12', 'at most 20'] }
  const table = '| figure | ms | aim |\n| --- | ---: | --- |\n| storm | 12 | at most 20 |'
  expect(figurePage({ ...figures, rows: [row] })).toBe(table)
  expect(figurePage({ ...figures, rows: [{ ...row, notes: ['one', 'two'] }] })).toBe(
    `${table}\n\n- storm: one\n- storm: two`
  )
})
