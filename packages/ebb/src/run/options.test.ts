import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type RunOptions, readOptions } from './options.js'

function optionsOf(...args: string[]): RunOptions {
  const asked = readOptions(args)
  if (asked.asked !== 'run') throw new Error(asked.asked)
  return asked.options
}

describe('readOptions', () => {
  test('defaults', () => {
    expect(optionsOf('--', 'node', 'app.js')).toEqual({
      command: ['node', 'app.js'],
      handover: false,
      keep: false,
      procs: 1,
      maxMemory: undefined,
      memoryWindow: 60_000,
      dir: undefined,
      readyTimeout: 60_000,
      grace: 60_000,
      killAfter: 10_000,
      maxRestarts: 16
    })
  })

  test('every option', () => {
    const text =
      '--handover --keep --procs 4 --max-memory=512MiB --memory-window 2m --dir sockets --ready-timeout 1.5 ' +
      '--grace 30s --kill-after=250ms --max-restarts unlimited -- app'
    expect(optionsOf(...text.split(' '))).toEqual({
      command: ['app'],
      handover: true,
      keep: true,
      procs: 4,
      maxMemory: 512 * 2 ** 20,
      memoryWindow: 120_000,
      dir: resolve('sockets'),
      readyTimeout: 1500,
      grace: 30_000,
      killAfter: 250,
      maxRestarts: Number.POSITIVE_INFINITY
    })
    expect(optionsOf('--procs', 'auto', '--max-restarts', '0', 'x')).toMatchObject({
      procs: availableParallelism(),
      maxRestarts: 0
    })
    expect(optionsOf('--keep', 'x')).toMatchObject({ keep: true, handover: true })
    expect(optionsOf('--store', 'x')).toMatchObject({ keep: false, handover: true, storeGrace: 5000 })
    expect(optionsOf('--store', '--store-grace', '2', 'x')).toMatchObject({ storeGrace: 2000 })
  })

  test('--keeper-only runs no command', () => {
    const args = ['--keeper-only', '--dir', '/run/ebb', '--procs', '3']
    expect(readOptions(args)).toEqual({ asked: 'keepers', dir: '/run/ebb', procs: 3 })
  })

  test.each([
    { args: ['node', 'app.js', '--procs', '3'], command: ['node', 'app.js', '--procs', '3'] },
    { args: ['--procs', '2', 'node', '--', 'x'], command: ['node', '--', 'x'] },
    { args: ['--procs=2', '--', '--strange', '-x'], command: ['--strange', '-x'] },
    { args: ['--handover', '--', 'node', '--help'], command: ['node', '--help'] },
    { args: ['--', '--', 'x'], command: ['--', 'x'] }
  ])('the command is what follows the options: $args', ({ args, command }) => {
    expect(optionsOf(...args).command).toEqual(command)
  })

  test('help and version need no command', () => {
    expect(readOptions(['--help'])).toEqual({ asked: 'help' })
    expect(readOptions(['-h'])).toEqual({ asked: 'help' })
    expect(readOptions(['--procs', '2', '-v'])).toEqual({ asked: 'version' })
  })

  test.each([
    { args: [], message: 'ebb run needs a command: ebb run [options] -- node app.js' },
    { args: ['--handover'], message: 'ebb run needs a command: ebb run [options] -- node app.js' },
    { args: ['--', ''], message: 'ebb run needs a command: ebb run [options] -- node app.js' },
    { args: ['--hanover', '--', 'x'], message: 'unknown option "--hanover": did you mean --handover?' },
    { args: ['--quite', '--', 'x'], message: 'unknown option "--quite": run "ebb run --help"' },
    { args: ['-x', '--', 'x'], message: 'unknown option "-x": run "ebb run --help"' },
    { args: ['--procs'], message: '--procs needs a value' },
    { args: ['--procs', '--', 'x'], message: '--procs needs a value' },
    { args: ['--keep=yes', 'x'], message: '--keep takes no value' },
    { args: ['--procs', '0', 'x'], message: '--procs must be a whole number from 1 to 1024, or auto, not "0"' },
    { args: ['--procs', '1e3', 'x'], message: '--procs must be a whole number from 1 to 1024, or auto, not "1e3"' },
    { args: ['--procs=-1', 'x'], message: '--procs must be a whole number from 1 to 1024, or auto, not "-1"' },
    {
      args: ['--max-memory', '500MB', 'x'],
      message: '--max-memory needs --handover: without it, a fresh process would lose every connection'
    },
    { args: ['--keeper-only'], message: '--keeper-only needs --dir: the processes find its sockets there' },
    { args: ['--keeper-only', '--dir', '/d', '--', 'x'], message: '--keeper-only runs no command' },
    { args: ['--keeper-only', '--dir', '/d', '--keep'], message: '--keep has no effect with --keeper-only' },
    { args: ['--store-grace', '2s', 'x'], message: '--store-grace needs --store' },
    {
      args: ['--handover', '--max-memory', '500', 'x'],
      message: '--max-memory must be a size with a unit such as 500MB, 1.5GB or 512MiB, not "500"'
    },
    {
      args: ['--handover', '--max-memory', '500M', 'x'],
      message: '--max-memory must be a size with a unit such as 500MB, 1.5GB or 512MiB, not "500M"'
    },
    {
      args: ['--grace', 'soon', 'x'],
      message: '--grace must be seconds, or a time with a unit such as 250ms, 5s or 2m, not "soon"'
    },
    { args: ['--grace', '9999h', 'x'], message: '--grace must be at most 24 days, not "9999h"' },
    {
      args: ['--max-restarts', '-1', 'x'],
      message: '--max-restarts needs a value'
    }
  ])('refuses $args', ({ args, message }) => {
    expect(() => readOptions(args)).toThrow(message)
    expect(() => readOptions(args)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  })

  test('refuses a folder that leaves no room for the paths of sockets', () => {
    expect(() => readOptions(['--dir', `/${'x'.repeat(90)}`, 'x'])).toThrow(
      /^--dir must be a path of at most \d+ bytes/
    )
  })
})
