#!/usr/bin/env node
// Not built, so that npm finds it when it links commands, before anything is built.
//
// `ebb serve` is one CommonJS file, and this one is CommonJS, too: Node's loader of ES modules takes 0.4 MB, and the
// memory of `ebb serve` is what gets measured. All other commands, and all that is wrong with this one, are elsewhere.
const [command, ...args] = process.argv.slice(2)
if (command !== 'serve' || !require('../dist/serve/main.cjs').runServeCommand(args)) void import('../dist/cli/main.js')
