package event
import ("testing";"time")
func BenchmarkTmp(b *testing.B){
 evs:=sampleEvents(512)
 ls:=make([][]byte,512)
 for i:=range evs { evs[i].Correlation=nil; ls[i],_=AppendLine(nil,&evs[i],i) }
 var l Line
 var pay,scan,line,parse,head,tail,pl,doc,pr,mm,tr best
 buf:=make([]byte,0,4096)
 for b.Loop(){ 
  t:=time.Now()
  for i:=range evs { if skipContainer(evs[i].Payload,0,1)<0 {b.Fatal()} }
  pay.lap(&t)
  for i:=range ls { if Scan(ls[i],&l)!=nil {b.Fatal()} }
  scan.lap(&t)
  for i:=range evs { buf,_=AppendLine(buf[:0],&evs[i],i) }
  line.lap(&t)
  for i:=range ls { e,err:=Parse(ls[i]); if err!=nil||e.Bot=="" {b.Fatal()} }
  parse.lap(&t)
  for i:=range evs { buf,_=appendPayload(buf[:0],evs[i].Payload) }
  pl.lap(&t)
  for i:=range evs { e:=&evs[i]; buf, _ = appendText(append(buf[:0], `{"id":"`...), e.Bot); buf,_=appendText(append(buf, `","event":"`...), e.Queue) }
  head.lap(&t)
  for i:=range evs { if _,e:=skipDocument(evs[i].Payload,1);e<0 {b.Fatal()} }
  doc.lap(&t)
  k:=0
  for i:=range evs { if isPrintable(evs[i].Payload) {k++} }
  pr.lap(&t)
  for i:=range evs { buf=append(buf[:0],evs[i].Payload...) }
  mm.lap(&t)
  for i:=range evs { if truthy(evs[i].Payload){k++} }
  tr.lap(&t)
  for i:=range evs { e:=&evs[i]; buf = appendMillis(append(buf[:0], `,"event_source_timestamp":`...), e.SourceTimestamp); buf = appendMillis(append(buf[:0], `,"timestamp":`...), e.SourceTimestamp) }
  tail.lap(&t)
  }
 for k,v:=range map[string]best{"payload":pay,"scan":scan,"line":line,"parse":parse,"head":head,"doc":doc,"printable":pr,"copy":mm,"truthy":tr,"times":tail,"appendPayload":pl} { b.ReportMetric(v.Seconds()*1e9/512,k+"-ns") }
}
