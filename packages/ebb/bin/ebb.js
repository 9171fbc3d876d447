#!/usr/bin/env node
// The library's command `ebb`. Not built, so that npm finds it when it links commands, before anything is built.
//
// It has one command of its own, `ebb run`. The others belong to the package `ebb-lab`, whose command `ebb` knows `run`
// as well. So all commands work, whichever of the two npm has linked as `node_modules/.bin/ebb`.
import { createRequire } from 'node:module'
import { join } from 'node:path'

const [command, ...args] = process.argv.slice(2)
if (command === 'run') {
  const { runCommand } = await import('../dist/run.js')
  await runCommand(args)
} else {
  const manifest = labManifest()
  if (manifest !== undefined) createRequire(manifest)('./bin/ebb.js')
  else withoutLab()
}

/** Returns the path of the `package.json` of `ebb-lab`, beside this package or in the current folder. */
function labManifest() {
  for (const from of [import.meta.url, join(process.cwd(), 'package.json')]) {
    try {
      return createRequire(from).resolve('ebb-lab/package.json')
    } catch {
      // Not installed there.
    }
  }
  return undefined
}

function withoutLab() {
  if (command === '--version' || command === '-v') {
    console.log(createRequire(import.meta.url)('../package.json').version)
  } else if (command === undefined || ['--help', '-h', 'help'].includes(command)) {
    console.log('Usage: ebb run [options] -- command [arguments]\n')
    console.log('Run "ebb run --help" for the options. The other commands come with the package ebb-lab.')
    if (command === undefined) process.exitCode = 1
  } else {
    const text = `the command ${JSON.stringify(command)} belongs to the package ebb-lab: npm install --save-dev ebb-lab`
    console.error(`ebb: ${text}`)
    process.exitCode = 1
  }
}
