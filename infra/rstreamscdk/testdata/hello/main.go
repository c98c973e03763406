// Command hello is a program that tests build.
package main

func main() { println("hello") }
